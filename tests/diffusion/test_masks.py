"""White is repainted and black stays, as in diffusers' inpainting pipelines, with 4 and with 9 channels."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.conditions import SourceFrames
from tests.diffusion.exact import EVERY_BASE, SETTINGS, are_equal, drawn, ours, seeded, seeded_noise, stills

#: the left half is repainted in frame 0, the upper half in frame 1
MASK = torch.zeros(1, 1, 2, 8, 8)
MASK[:, :, 0, :, :4] = 1
MASK[:, :, 1, :4] = 1


@pytest.fixture
def source():
    """Latents of two frames and those of their kept pixels, [1, 4, 2, 8, 8] each."""
    latents = torch.randn(2, 1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents.double()  # diffusers rounds pictures to float32


def inpainting(parts):
    """Return the parts with a UNet of nine channels."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel.from_config(dict(parts.unet.config) | {"in_channels": 9})
    return replace(parts, unet=unet.to(parts.unet.dtype).eval())


def run(parts, source, **settings):
    mask = MASK.to(parts.unet.dtype)
    channels = torch.cat([mask, source[1]], dim=1) if parts.unet.config.in_channels == 9 else None
    settings = {"num_frames": 2, "steps": 5, "video": "clip.mp4", "mask": "mask.png"} | settings
    denoise = GenerateConfig(**SETTINGS | settings).denoise
    condition = SourceFrames(source[0], denoise, 5, repaint=mask, channels=channels)
    return ours(parts, condition, noise=seeded_noise(2, parts.unet.dtype), **settings)


@pytest.mark.parametrize(
    ("base", "dtype", "scheduler", "strength", "has_channels"),
    [
        *((*base, "euler", 0.6, False) for base in EVERY_BASE),
        ("sd15", torch.float64, "ddim", 1.0, False),
        ("sd15", torch.float64, "dpm++2m", 0.6, False),
        ("sd15", torch.float64, "ddim", 1.0, True),
        *((*base, "ddim", 0.6, True) for base in EVERY_BASE if base[0] == "sd15"),
    ],
)
def test_without_motion_each_frame_is_what_diffusers_inpaints(
    models, source, base, dtype, scheduler, strength, has_channels
):
    parts, source = models(base, dtype), source.to(dtype)
    parts = inpainting(parts) if has_channels else parts
    images, kept = (latents[0].transpose(0, 1) for latents in source)
    options = {
        "image": images,
        "mask_image": MASK[0].transpose(0, 1).repeat_interleave(8, -1).repeat_interleave(8, -2),
        "masked_image_latents": kept,
        "strength": strength,
        "num_inference_steps": 5,
        "generator": seeded(2),
        "height": 64,
        "width": 64,
    }
    expected = drawn(stills(parts, "Inpaint", scheduler), range(2), **options)
    assert are_equal(parts, run(parts, source, denoise=strength, scheduler=scheduler), expected, 1e-5)


def test_black_stays_exactly_and_a_frame_that_is_not_denoised_is_all_black(exact_model, source):
    latents = run(exact_model, source, denoise={"0": 1, "1": 0})
    changed = (latents - source[0]).abs().amax(1, keepdim=True)
    assert changed[MASK == 0].max() == 0 and changed[:, :, 0][MASK[:, :, 0] == 1].min() > 0.01
    assert changed[:, :, 1].max() == 0
