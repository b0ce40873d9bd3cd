"""A clip begins from given frames as diffusers' image-to-image pipelines do, each frame by as much as it is told."""

from functools import partial

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.denoising import num_denoised
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.conditions import ClipStart, SourceFrames
from animdiff_cli.diffusion.denoise import denoise
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.inversion import inverted_noise
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.pipeline import Callbacks, Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import SAMPLERS, make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import load_motion_module, plug

SETTINGS = {
    "prompt": "a fox",
    "negative_prompt": "blur",
    "model": "toy",
    "seed": 5,
    "beta_schedule": "linear",
    "width": 64,
    "height": 64,
    "steps": 5,
    "num_frames": 3,
    "video": "clip.mp4",
}
PLAN = DevicePlan("cpu", 0, "fp32")


def exact(folder):
    """Return parts in float64: random weights under guidance magnify float32 rounding a thousandfold."""
    parts = load_components(folder, PLAN)
    for part in (parts.unet, parts.vae, parts.text_encoder, parts.text_encoder_2):
        if part is not None:
            part.to(torch.float64)
    return parts


@pytest.fixture
def parts(toy_model):
    return exact(toy_model)


@pytest.fixture
def source():
    """Latents of a video of three frames, [1, 4, 3, 8, 8]."""
    return torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def noise_of(frame):
    """Return the noise that diffusers draws for an image from this seed."""
    generator = torch.Generator().manual_seed(frame)
    return torch.randn(1, 4, 8, 8, generator=generator, dtype=torch.float64)


def run(parts, source, callbacks=None, **settings):
    config = GenerateConfig(**SETTINGS | {"num_frames": source.shape[2]} | settings)
    condition = SourceFrames(source, config.denoise, config.steps, config.invert)
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), (condition,))
    noise = torch.stack([noise_of(frame) for frame in range(source.shape[2])], dim=2)
    return sample_latents(pipe, config, callbacks or Callbacks(), noise=noise)


@pytest.mark.parametrize(
    ("scheduler", "strength"), [("ddim", 0.6), ("ddim", 1.0), ("euler", 0.6), ("dpm++2m", 0.6), ("heun", 0.6)]
)
def test_without_motion_each_frame_is_what_diffusers_makes_of_its_picture(parts, source, scheduler, strength):
    pipe = StableDiffusionImg2ImgPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=make_scheduler(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    check(pipe, run(parts, source, denoise=strength, scheduler=scheduler), source, strength)


def test_sdxl_frames_too(toy_sdxl_model, source):
    parts = exact(toy_sdxl_model)
    pipe = StableDiffusionXLImg2ImgPipeline(
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


def check(pipe, ours, source, strength):
    pipe.set_progress_bar_config(disable=True)
    for frame in range(source.shape[2]):
        theirs = pipe(
            "a fox",
            image=source[:, :, frame],
            negative_prompt="blur",
            strength=strength,
            guidance_scale=7.5,
            num_inference_steps=SETTINGS["steps"],
            generator=torch.Generator().manual_seed(frame),
            output_type="latent",
        ).images
        assert (theirs - ours[:, :, frame]).abs().max() < 1e-5 * ours.std()  # schedulers keep float32 sigmas


@pytest.mark.parametrize("scheduler", [name for name in SAMPLERS if name != "pndm"])
def test_a_frame_that_is_not_denoised_stays_with_every_sampler(parts, source, scheduler):
    latents = run(parts, source, denoise={"0": 0, "1": 0.3, "2": 1}, scheduler=scheduler)
    assert torch.allclose(latents[:, :, 0], source[:, :, 0])
    assert torch.isfinite(latents).all()
    assert (latents[:, :, 1:] - source[:, :, 1:]).abs().amax((0, 1, 3, 4)).min() > 0.01


def test_frames_of_a_curve_equal_those_of_its_numbers(parts, source):
    """Frames without motion do not see each other: each is denoised as if its number were that of the clip."""
    curve = run(parts, source, denoise={"0": 0.2, "1": 0.4, "2": 1})
    for frame, share in enumerate((0.2, 0.4, 1)):
        alone = run(parts, source, denoise=share)
        assert torch.allclose(curve[:, :, frame], alone[:, :, frame], atol=1e-9)


def test_the_last_steps_alone_are_taken(parts, source):
    seen = []
    run(parts, source, Callbacks(on_step=lambda done, total, latents: seen.append((done, total))), denoise=0.4)
    assert seen == [(1, 2), (2, 2)]
    assert [GenerateConfig(**SETTINGS, denoise=share).steps_taken for share in (0, 0.1, 0.6, 1)] == [1, 1, 3, 5]
    assert GenerateConfig(**SETTINGS | {"video": None}, denoise=0.4).steps_taken == 5
    assert num_denoised(10, 0.7) == 7


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_a_long_video_runs_in_windows(toy_model, toy_motion_file, mode):
    parts = load_components(toy_model, PLAN)
    plug(parts.unet, load_motion_module(toy_motion_file))
    source = torch.randn(1, 4, 7, 8, 8, generator=torch.Generator().manual_seed(1))
    settings = {"denoise": {"0": 0, "-1": 0.8}, "context_length": 4, "context_overlap": 2, "context_mode": mode}
    latents = run(parts, source, **settings)
    assert torch.equal(latents[:, :, 0], source[:, :, 0])
    assert (latents[:, :, 6] - source[:, :, 6]).abs().max() > 0.01


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_inversion_finds_the_noise_that_leads_back(source, prediction):
    """The prediction is exact for clips whose latents are independent with a standard deviation of 2."""
    scheduler = make_scheduler("ddim", prediction_type=prediction)

    def predict(latents, timestep, step, frames=None):
        alpha = scheduler.alphas_cumprod[int(timestep)].double()
        image = alpha.sqrt() * 4 * latents / (4 * alpha + 1 - alpha)
        noise = (latents - alpha.sqrt() * image) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * image
        return {"epsilon": noise, "v_prediction": velocity, "sample": image}[prediction]

    scheduler.set_timesteps(100)
    start = ClipStart(scheduler.timesteps[30:], scheduler, predict)
    found = inverted_noise(start, source)
    errors = []
    for noise in (found, found.flip(-1)):
        begin = scheduler.add_noise(source, noise, start.timesteps[0].reshape(1))
        back = denoise(predict, scheduler, begin, generator=seeded_generator(0), first=30)
        errors.append((back - source).abs().max())
    assert errors[0] < 0.05 < 0.5 < errors[1]


def test_inversion_changes_the_noise_of_the_clip(parts, source):
    inverted, random = (run(parts, source, invert=invert, denoise=0.4) for invert in (True, False))
    assert (inverted - random).abs().max() > 0.01
    kept = run(parts, source, invert=True, denoise={"0": 0, "-1": 0.4})
    assert torch.allclose(kept[:, :, 0], source[:, :, 0])
