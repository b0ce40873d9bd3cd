"""Predictors and conditions, each against the plain computation."""

from dataclasses import dataclass

import pytest
import torch

from animdiff_cli.diffusion.conditions import Condition, PromptCondition, prepared
from animdiff_cli.diffusion.denoise import denoise
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.predictors import guided, unet_predictor
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.motion import plug

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
    with prepared([PromptCondition(text[:1])], unet) as ready:
        predicted = unet_predictor(unet, ready)(latents, TIMESTEP, 0)
    assert predicted.shape == latents.shape
    assert (predicted - plain(unet, latents, text[:1])).abs().max() < 1e-12


@torch.no_grad()
def test_guidance_moves_away_from_the_unconditional_row(unet, text, latents):
    with prepared([PromptCondition(text)], unet) as ready:
        predicted = guided(unet_predictor(unet, ready, rows=2), 7.5)(latents, TIMESTEP, 0)
    noise_uncond, noise_text = (plain(unet, latents, row[None]) for row in text)
    assert (predicted - (noise_uncond + 7.5 * (noise_text - noise_uncond))).abs().max() < 1e-10


@torch.no_grad()
def test_some_frames_of_a_clip_are_a_clip_of_their_own(unet, make_motion, text, latents):
    """What a window of frames gives is what those frames give alone: nothing is fixed for the whole loop."""
    plug(unet, make_motion(unet))
    window = [1, 2, 4]
    with prepared([PromptCondition(text[:1])], unet) as ready:
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

    def amend(self, latents, step):
        return latents + self.strength if step == 0 else latents


@torch.no_grad()
def test_a_condition_contributes_to_the_frames_of_a_call(unet, text, latents):
    with prepared([PromptCondition(text), Brighten(1.0)], unet) as ready:
        predict = unet_predictor(unet, ready, rows=2)
        whole, odd = predict(latents, TIMESTEP, 0), predict(latents[:, :, 1:2], TIMESTEP, 0, [1])
    with prepared([PromptCondition(text)], unet) as ready:
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
        with prepared([PromptCondition(text[:1])], unet) as ready:
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


def test_two_conditions_must_not_contribute_the_same(unet, text, latents):
    with prepared([PromptCondition(text[:1]), PromptCondition(text[:1])], unet) as ready:
        predict = unet_predictor(unet, ready)
        with pytest.raises(RuntimeError, match="two conditions contribute `encoder_hidden_states`"):
            predict(latents, TIMESTEP, 0)


def test_denoise_takes_one_clip():
    with pytest.raises(ValueError, match=r"one clip \[1, 4, F, h, w\], got \[2, 4, 3, 8, 8\]"):
        denoise(None, make_scheduler("ddim"), torch.zeros(2, 4, 3, 8, 8), generator=seeded_generator(0))
