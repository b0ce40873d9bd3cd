"""Predictors and conditions, each against the plain computation."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import Curve, Series, series
from animdiff_cli.core.guidance import Guidance
from animdiff_cli.core.where import Timeline
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.conditions import Condition, PromptCondition, prepared
from animdiff_cli.diffusion.denoise import denoise
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.pipeline import Pipeline, text_conditions
from animdiff_cli.diffusion.predictors import guided, unet_predictor, windowed
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.text_encoders import PromptEmbeds
from animdiff_cli.motion import plug
from tests.toy_networks import ANY_CLIP

TIMESTEP = torch.tensor(500)


@pytest.fixture
def unet(make_unet):
    return make_unet()


@pytest.fixture
def text():
    return torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def latents():
    return torch.randn(1, 4, 6, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def plain(unet, latents, text):
    """Predict frame by frame with one row of text: [1, 4, F, h, w]."""
    frames = [unet(frame, TIMESTEP, encoder_hidden_states=text).sample for frame in latents.unbind(2)]
    return torch.stack(frames, dim=2)


@torch.no_grad()
def test_one_call_predicts_every_frame(unet, text, latents):
    with prepared([PromptCondition(text[:1])], unet, ANY_CLIP) as ready:
        predicted = unet_predictor(unet, ready)(latents, TIMESTEP, 0)
    assert predicted.shape == latents.shape
    assert (predicted - plain(unet, latents, text[:1])).abs().max() < 1e-12


@torch.no_grad()
def test_guidance_moves_away_from_the_unconditional_row(unet, text, latents):
    with prepared([PromptCondition(text)], unet, ANY_CLIP) as ready:
        predicted = guided(unet_predictor(unet, ready, rows=2), Guidance(Series((7.5,))))(latents, TIMESTEP, 0)
    noise_uncond, noise_text = (plain(unet, latents, row[None]) for row in text)
    assert (predicted - (noise_uncond + 7.5 * (noise_text - noise_uncond))).abs().max() < 1e-10


@torch.no_grad()
def test_guidance_varies_by_frame_and_by_step(unet, text, latents):
    """Where it is 1 or less, the prediction is the one with text, as without guidance."""
    clip = Timeline(num_frames=6, fps=8, steps=2)
    noise_uncond, noise_text = (plain(unet, latents, row[None]) for row in text)

    def expected(values):
        by_frame = torch.tensor(values, dtype=torch.float64)[:, None, None]
        return noise_uncond + by_frame * (noise_text - noise_uncond)

    with prepared([PromptCondition(text)], unet, ANY_CLIP) as ready:
        predict = unet_predictor(unet, ready, rows=2)
        by_frame = guided(predict, Guidance(series(Curve.parse("0:0,5:10"), clip), calls=2))
        by_step = guided(predict, Guidance(series(Curve.parse("steps:0:9,1:0.5"), clip), calls=2))
        assert (by_frame(latents, TIMESTEP, 0) - expected([1, 2, 4, 6, 8, 10])).abs().max() < 1e-10
        window = by_frame(latents[:, :, [5, 0]], TIMESTEP, 1, [5, 0])
        assert (window - expected([1, 2, 4, 6, 8, 10])[:, :, [5, 0]]).abs().max() < 1e-10
        assert (by_step(latents, TIMESTEP, 0) - expected([9] * 6)).abs().max() < 1e-10
        assert (by_step(latents, TIMESTEP, 1) - noise_text).abs().max() < 1e-12


@torch.no_grad()
def test_some_frames_of_a_clip_are_a_clip_of_their_own(unet, make_motion, text, latents):
    """What a window of frames gives is what those frames give alone: nothing is fixed for the whole loop."""
    plug(unet, make_motion(unet))
    window = [1, 2, 4]
    with prepared([PromptCondition(text[:1])], unet, ANY_CLIP) as ready:
        predict = unet_predictor(unet, ready)
        whole = predict(latents, TIMESTEP, 0)
        part = predict(latents[:, :, window], TIMESTEP, 0, window)
        again = predict(latents, TIMESTEP, 1)
    assert part.shape == (1, 4, 3, 8, 8)
    assert torch.equal(whole, again)
    assert (part - whole[:, :, window]).abs().max() > 1e-4


@dataclass
class Brighten(Condition):
    """A residual for the odd frames, as a ControlNet adds it, and brighter latents after the first step."""

    strength: float

    def contribute(self, call):
        frames = torch.tensor([self.strength * (frame % 2) for frame in call.frames], dtype=torch.float64)
        residual = frames.repeat(call.rows)[:, None, None, None].expand(-1, 64, 1, 1)
        return {"mid_block_additional_residual": residual, "down_block_additional_residuals": [torch.zeros(1)] * 8}

    def amend(self, latents, end):
        return latents + self.strength if end.step == 0 else latents


@torch.no_grad()
def test_a_condition_contributes_to_the_frames_of_a_call(unet, text, latents):
    with prepared([PromptCondition(text), Brighten(1.0)], unet, ANY_CLIP) as ready:
        predict = unet_predictor(unet, ready, rows=2)
        whole, odd = predict(latents, TIMESTEP, 0), predict(latents[:, :, 1:2], TIMESTEP, 0, [1])
    with prepared([PromptCondition(text)], unet, ANY_CLIP) as ready:
        without = unet_predictor(unet, ready, rows=2)(latents, TIMESTEP, 0)
    changed = (whole - without).abs().amax(dim=(0, 1, 3, 4))
    assert (changed[::2] < 1e-12).all()
    assert (changed[1::2] > 1e-6).all()
    assert (odd - whole[:, :, 1:2]).abs().max() < 1e-12


@torch.no_grad()
def test_a_condition_amends_the_latents_after_each_step(unet, text, latents):
    seen = []
    for strength in (0.0, 1.0):
        scheduler = make_scheduler("ddim")
        scheduler.set_timesteps(2)
        steps = []
        with prepared([PromptCondition(text[:1])], unet, ANY_CLIP) as ready:
            denoise(
                unet_predictor(unet, ready),
                scheduler,
                latents,
                generator=seeded_generator(0),
                conditions=[Brighten(strength)],
                on_step=lambda done, total, now: steps.append(now),  # noqa: B023
            )
        seen.append(steps)
    assert (seen[1][0] - seen[0][0] - 1).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize(
    "windows",
    [Windows(6, 4, 1), Windows(6, 4, 1, 1, "looped", "flat"), Windows(6, 6, 2, 1, "looped", "gauss-sigma")],
    ids=["static", "looped", "one length"],
)
def test_windows_are_averaged(windows, unet, make_motion, text, latents):
    """The loop with windows around the UNet is the sum of single calls, each by hand, with guidance inside a window."""
    motion = plug(unet, make_motion(unet))
    steps, seen = 3, []
    with prepared([PromptCondition(text)], unet, ANY_CLIP) as ready:
        inner = guided(unet_predictor(unet, ready, rows=2), Guidance(Series((7.5,))))
        predict = windowed(inner, windows, steps, unet.device, on_window=lambda *progress: seen.append(progress))
        predicted = [predict(latents, TIMESTEP, step) for step in range(steps)]
    for step in range(steps):
        total, weight = torch.zeros_like(latents), torch.zeros(6)
        for window in windows.at(step, steps):
            images = torch.stack([latents[0, :, frame] for frame in window.frames])
            with motion.frames(len(images)):
                uncond, cond = (
                    unet(images, TIMESTEP, encoder_hidden_states=row.expand(len(images), -1, -1)).sample for row in text
                )
            guided_noise = uncond + 7.5 * (cond - uncond)
            for place, (frame, share) in enumerate(zip(window.frames, window.shares, strict=True)):
                total[0, :, frame] += share * guided_noise[place]
                weight[frame] += share
        assert (predicted[step] - total).abs().max() < 1e-9
        assert (weight - 1).abs().max() < 1e-6
        assert [done for at, done, of in seen if at == step] == list(range(1, len(windows.at(step, steps)) + 1))


@torch.no_grad()
def test_conditions_receive_the_clip_indices_of_a_window(unet, text, latents):
    """Tracks are sliced by the indices of frames in the clip, also of a window that wraps, also inside other frames."""
    calls = []

    class Recorder(Condition):
        def contribute(self, call):
            calls.append(list(call.frames))
            return {}

    with prepared([PromptCondition(text[:1]), Recorder()], unet, ANY_CLIP) as ready:
        predict = windowed(unet_predictor(unet, ready), Windows(6, 4, 1, 1, "looped"), 2, unet.device)
        predict(latents, TIMESTEP, 1)
        predict(latents, TIMESTEP, 0, [10, 11, 12, 13, 14, 15])
    assert calls == [[3, 4, 5, 0], [0, 1, 2, 3], [10, 11, 12, 13], [13, 14, 15, 10]]


def test_two_conditions_must_not_contribute_the_same(unet, text, latents):
    with prepared([PromptCondition(text[:1]), PromptCondition(text[:1])], unet, ANY_CLIP) as ready:
        predict = unet_predictor(unet, ready)
        with pytest.raises(RuntimeError, match="two conditions contribute `encoder_hidden_states`"):
            predict(latents, TIMESTEP, 0)


def test_denoise_takes_one_clip():
    with pytest.raises(ValueError, match=r"one clip \[1, 4, F, h, w\], got \[2, 4, 3, 8, 8\]"):
        denoise(None, make_scheduler("ddim"), torch.zeros(2, 4, 3, 8, 8), generator=seeded_generator(0))


@torch.no_grad()
def test_residuals_of_two_conditions_are_added(unet, text, latents):
    def predict(*strengths):
        with prepared([PromptCondition(text[:1]), *map(Brighten, strengths)], unet, ANY_CLIP) as ready:
            return unet_predictor(unet, ready)(latents, TIMESTEP, 0)

    assert (predict(0.25, 0.75) - predict(1.0)).abs().max() < 1e-12


class Cond(Condition):
    """Installs attention processors, makes the rows of guidance differ early, and records the ends of steps."""

    def __init__(self, processor=None, channels=None):
        self.processor, self.channels, self.ends = processor, channels, []

    @contextmanager
    def prepare(self, unet, clip):
        if self.processor:
            unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor = self.processor
        yield self

    def contribute(self, call):
        if self.channels is None:
            return {}
        return {"extra_channels": torch.full((call.rows * len(call.frames), 1, 8, 8), self.channels).double()}

    def amend(self, latents, end):
        self.ends.append((end.step, int(end.timestep), None if end.next_timestep is None else int(end.next_timestep)))
        return latents


@torch.no_grad()
def test_the_prompt_is_repeated_for_processors_that_another_condition_installs(unet, text, latents):
    expected = plain(unet, latents, text[:1])
    stock = AttnProcessor2_0()
    stock.__class__ = type("Foreign", (AttnProcessor2_0,), {})
    with prepared([PromptCondition(text[:1]), Cond(stock)], unet, ANY_CLIP) as ready:
        assert not ready[0].is_shared
        assert (unet_predictor(unet, ready)(latents, TIMESTEP, 0) - expected).abs().max() < 1e-12


@torch.no_grad()
def test_extra_channels_are_appended_to_the_latents(unet, text, latents):
    wide = torch.nn.Conv2d(6, 32, 3, padding=1).double()
    narrow, unet.conv_in = unet.conv_in, wide
    wide.weight[:, :4], wide.bias[:] = narrow.weight, narrow.bias
    images = torch.cat([latents[0].transpose(0, 1), torch.ones(6, 1, 8, 8), torch.full((6, 1, 8, 8), 2.0)], dim=1)
    expected = unet(images.double(), TIMESTEP, encoder_hidden_states=text[:1].expand(6, -1, -1)).sample
    with prepared([PromptCondition(text[:1]), Cond(channels=1.0), Cond(channels=2.0)], unet, ANY_CLIP) as ready:
        predicted = unet_predictor(unet, ready)(latents, TIMESTEP, 0)
    assert (predicted[0].transpose(0, 1) - expected).abs().max() < 1e-12


@torch.no_grad()
def test_amend_receives_the_timesteps(unet, text, latents):
    scheduler, condition = make_scheduler("ddim"), Cond()
    scheduler.set_timesteps(2)
    with prepared([PromptCondition(text[:1])], unet, ANY_CLIP) as ready:
        denoise(unet_predictor(unet, ready), scheduler, latents, generator=seeded_generator(0), conditions=[condition])
    first, last = scheduler.timesteps.tolist()
    assert condition.ends == [(0, first, last), (1, last, None)]


@pytest.mark.parametrize("conditions", [(), (Cond(),)])
def test_early_layers_are_shared_only_if_every_condition_allows_it(conditions, unet, text):
    pipe = Pipeline(unet, None, lambda prompt, **_: PromptEmbeds(text[:1]), conditions=conditions)
    config = GenerateConfig(prompt="a fox", model="toy", seed=0)
    assert text_conditions(pipe, config)[0].share_early_layers is (not conditions)
