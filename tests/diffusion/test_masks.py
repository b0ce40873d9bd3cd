"""White is repainted and black stays, as in diffusers' inpainting pipelines, with 4 and with 9 channels."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.conditions import SourceFrames
from animdiff_cli.diffusion.pipeline import SILENT, Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from tests.diffusion.test_source_frames import SETTINGS, exact, noise_of

#: the left half is repainted in frame 0, the upper half in frame 1
MASK = torch.zeros(1, 1, 2, 8, 8, dtype=torch.float64)
MASK[:, :, 0, :, :4] = 1
MASK[:, :, 1, :4] = 1


@pytest.fixture
def source():
    """Latents of two frames and those of their kept pixels, [1, 4, 2, 8, 8] each."""
    latents = torch.randn(2, 1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents.double()  # diffusers rounds pictures to float32


@pytest.fixture
def parts(toy_model):
    return exact(toy_model)


@pytest.fixture
def inpainting(parts):
    """The parts with a UNet of nine channels."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel.from_config(dict(parts.unet.config) | {"in_channels": 9}).double().eval()
    return replace(parts, unet=unet)


def run(parts, source, *, channels=False, **settings):
    config = GenerateConfig(**SETTINGS | {"num_frames": 2, "mask": "mask.png"} | settings)
    extra = torch.cat([MASK, source[1]], dim=1) if channels else None
    condition = SourceFrames(source[0], config.denoise, config.steps, repaint=MASK, channels=extra)
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), (condition,))
    noise = torch.stack([noise_of(frame) for frame in range(2)], dim=2)
    return sample_latents(pipe, config, SILENT, noise=noise)


def sd_pipe(parts, scheduler="ddim"):
    return StableDiffusionInpaintPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=make_scheduler(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def check(pipe, ours, source, strength):
    pipe.set_progress_bar_config(disable=True)
    for frame in range(2):
        theirs = pipe(
            "a fox",
            image=source[0][:, :, frame],
            mask_image=MASK[:, :, frame].repeat_interleave(8, -1).repeat_interleave(8, -2),
            masked_image_latents=source[1][:, :, frame],
            negative_prompt="blur",
            strength=strength,
            guidance_scale=7.5,
            num_inference_steps=SETTINGS["steps"],
            generator=torch.Generator().manual_seed(frame),
            height=64,
            width=64,
            output_type="latent",
        ).images
        assert (theirs - ours[:, :, frame]).abs().max() < 1e-5 * ours.std()


@pytest.mark.parametrize(("scheduler", "strength"), [("ddim", 1.0), ("ddim", 0.6), ("euler", 1.0), ("dpm++2m", 0.6)])
def test_without_motion_each_frame_is_what_diffusers_inpaints(parts, source, scheduler, strength):
    check(sd_pipe(parts, scheduler), run(parts, source, denoise=strength, scheduler=scheduler), source, strength)


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_an_inpainting_model_too(inpainting, source, strength):
    check(sd_pipe(inpainting), run(inpainting, source, channels=True, denoise=strength), source, strength)


def test_sdxl_frames_too(toy_sdxl_model, source):
    parts = exact(toy_sdxl_model)
    pipe = StableDiffusionXLInpaintPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        text_encoder_2=parts.text_encoder_2,
        tokenizer=parts.tokenizer,
        tokenizer_2=parts.tokenizer_2,
        unet=parts.unet,
        scheduler=make_scheduler("euler"),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    check(pipe, run(parts, source, denoise=0.6, scheduler="euler"), source, 0.6)


def test_black_stays_exactly_and_a_frame_that_is_not_denoised_is_all_black(parts, source):
    latents = run(parts, source, denoise={"0": 1, "1": 0})
    changed = (latents - source[0]).abs().amax(1, keepdim=True)
    assert changed[MASK == 0].max() == 0 and changed[:, :, 0][MASK[:, :, 0] == 1].min() > 0.01
    assert changed[:, :, 1].max() == 0
