"""DeepCache: calls that reuse deep layers, compared with the outermost layers called one by one."""

from functools import partial

import pytest
import torch

from animdiff_cli.core.reuse import ReuseSchedule
from animdiff_cli.diffusion.conditions import PromptCondition, prepared
from animdiff_cli.diffusion.deep_cache import DeepCache
from animdiff_cli.diffusion.predictors import unet_predictor
from animdiff_cli.motion import plug
from tests.diffusion.test_predictors import Brighten
from tests.toy_networks import ANY_CLIP

CPU = torch.device("cpu")


def tensor(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_outermost(unet, images, timestep, text, hidden, added=None):
    """Call the first convolution and the last layer of the decoder one after the other."""
    time = unet.time_embedding(unet.time_proj(timestep.expand(len(images))).to(images))
    if added:
        ids = unet.add_time_proj(added["time_ids"].flatten()).reshape(len(images), -1)
        time = time + unet.add_embedding(torch.cat([added["text_embeds"], ids], dim=-1).to(images))
    last = unet.up_blocks[-1]
    hidden = last.resnets[-1](torch.cat([hidden, unet.conv_in(images)], dim=1), time)
    if attentions := getattr(last, "attentions", None):
        hidden = attentions[-1](hidden, encoder_hidden_states=text)[0]
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))


@pytest.mark.parametrize(
    ("layout", "version", "layers"), [("sd15", "v1", 1), ("sdxl", "sdxl", 2), ("one-level", "v3", 1)]
)
@torch.no_grad()
def test_a_call_in_between_runs_the_outermost_layers(make_unet, make_motion, layout, version, layers):
    """With their temporal transformers and, in v1, norms across frames."""
    unet = make_unet(layout, layers=layers)
    motion = plug(unet, make_motion(unet, version))
    texts, latents = tensor(1, 7, 24, seed=1), tensor(2, 1, 4, 3, 10, 8, seed=2)
    given = []
    handle = (
        unet.up_blocks[-1]
        .resnets[-1]
        .register_forward_pre_hook(
            lambda _, args: given.append(args[0][:, : -unet.conv_in.out_channels])  # without the skip connection
        )
    )
    with prepared([PromptCondition(texts)], unet, ANY_CLIP) as ready:
        predict = unet_predictor(unet, ready, cache=DeepCache(unet, 2, CPU))
        exact = unet_predictor(unet, ready)
        first, second = (predict(part, torch.tensor(500 - step), step) for step, part in enumerate(latents))
        handle.remove()
        with motion.frames(3):
            images = latents[1, 0].transpose(0, 1)
            expected = plain_outermost(unet, images, torch.tensor(499), texts, given[0])
        assert torch.equal(first, exact(latents[0], torch.tensor(500), 0))
        assert (second[0].transpose(0, 1) - expected).abs().max() < 1e-12
        assert (second - exact(latents[1], torch.tensor(499), 1)).abs().max() > 1e-4
        third = predict(latents[1], torch.tensor(499), 2)
        assert torch.equal(third, exact(latents[1], torch.tensor(499), 2))


@torch.no_grad()
def test_the_row_with_text_goes_on_alone(make_unet):
    """What is kept for two rows serves the last of them; two rows after one need the whole UNet."""
    unet, text, latents = make_unet(), tensor(2, 7, 24, seed=1), tensor(1, 4, 3, 8, 8, seed=2)
    whole = []
    unet.mid_block.register_forward_hook(lambda *_: whole.append(True))
    with prepared([PromptCondition(text, share_early_layers=True)], unet, ANY_CLIP) as ready:
        cache = partial(unet_predictor, unet, ready, rows=2)
        predict, other = (cache(cache=DeepCache(unet, 9, CPU)) for _ in range(2))
        predict(latents, torch.tensor(500), 0)
        both = predict(latents, torch.tensor(499), 1)
        alone = predict(latents, torch.tensor(499), 2, rows=1)
        assert (both[1:] - alone).abs().max() < 1e-12
        assert len(whole) == 1
        other(latents, torch.tensor(500), 0, rows=1)
        again = other(latents, torch.tensor(499), 1)
        assert len(whole) == 3
        assert torch.equal(again, cache()(latents, torch.tensor(499), 1))


@torch.no_grad()
def test_controls_are_kept_with_the_deep_blocks(make_unet):
    """Their networks do not run in between; their residuals for the outermost skip connections stay."""
    unet, text, latents = make_unet(), tensor(1, 7, 24, seed=1), tensor(1, 4, 3, 8, 8, seed=2)
    residuals = [torch.full((3, 1, 1, 1), 0.1 * place, dtype=torch.float64) for place in range(8)]

    class Control(Brighten):
        def contribute(self, call):
            return {**super().contribute(call), "down_block_additional_residuals": residuals} if call.is_deep else {}

    with prepared([PromptCondition(text), Control(0.5)], unet, ANY_CLIP) as ready:
        predict = unet_predictor(unet, ready, cache=DeepCache(unet, 2, CPU))
        # the same noise again: what is reused is what would be computed
        whole, again = (predict(latents, torch.tensor(500), step) for step in range(2))
    assert (whole - again).abs().max() < 1e-12


@torch.no_grad()
def test_each_window_has_its_own(make_unet, make_motion):
    unet, text, latents = make_unet(), tensor(1, 7, 24, seed=1), tensor(1, 4, 6, 8, 8, seed=2)
    plug(unet, make_motion(unet))
    with prepared([PromptCondition(text)], unet, ANY_CLIP) as ready:
        cache = DeepCache(unet, 2, CPU)
        predict = unet_predictor(unet, ready, cache=cache)
        for step in range(2):
            for frames in ([0, 1, 2, 3], [2, 3, 4, 5]):
                part = predict(latents[:, :, frames], torch.tensor(500), step, frames)
                exact = unet_predictor(unet, ready)(latents[:, :, frames], torch.tensor(500), step, frames)
                assert (part - exact).abs().max() < 1e-12
        predict(latents[:, :, :4], torch.tensor(500), 2, [0, 1, 2, 3])
        assert list(cache._kept) == [(0, 1, 2, 3)]  # windows of earlier steps are dropped


def test_the_schedule_begins_anew_with_every_pass():
    schedule = ReuseSchedule(3)
    calls = [0, 1, 2, 3, 4, 0, 1]
    assert [step for step in calls if schedule.is_deep((0,), step, 1)] == [0, 3, 0]
