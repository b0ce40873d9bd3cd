"""A clip begins from given frames as diffusers' image-to-image pipelines do, each frame by as much as it is told."""

import pytest
import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.denoising import num_denoised
from animdiff_cli.diffusion.conditions import ClipStart, SourceFrames
from animdiff_cli.diffusion.denoise import denoise
from animdiff_cli.diffusion.inversion import inverted_noise
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.pipeline import Callbacks
from animdiff_cli.diffusion.schedulers import SAMPLERS, make_scheduler
from animdiff_cli.motion import load_motion_module, plug, unplug
from tests.diffusion.exact import EVERY_BASE, SETTINGS, are_equal, drawn, ours, seeded, seeded_noise, stills

STEPS = {"steps": 5}


@pytest.fixture
def source():
    """Latents of a video of three frames, [1, 4, 3, 8, 8]; from other numbers the toy model magnifies rounding."""
    return torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def run(parts, source, **settings):
    settings = STEPS | {"num_frames": source.shape[2], "video": "clip.mp4"} | settings
    config = GenerateConfig(**SETTINGS | {key: value for key, value in settings.items() if key != "callbacks"})
    condition = SourceFrames(source, config.denoise, config.steps, config.invert)
    return ours(parts, condition, noise=seeded_noise(config.num_frames, parts.unet.dtype), **settings)


@pytest.mark.parametrize(
    ("base", "dtype", "scheduler", "strength"),
    [
        *((*base, "ddim", 0.6) for base in EVERY_BASE),
        *(("sd15", torch.float64, *case) for case in (("euler", 0.6), ("ddim", 1.0), ("dpm++2m", 0.6), ("heun", 0.6))),
    ],
)
def test_without_motion_each_frame_is_what_diffusers_makes_of_its_picture(
    models, source, base, dtype, scheduler, strength
):
    parts, source = models(base, dtype), source.to(dtype)
    images, count = source[0].transpose(0, 1), {"num_inference_steps": STEPS["steps"]}
    pipe = stills(parts, "Img2Img", scheduler)
    expected = drawn(pipe, range(3), image=images, strength=strength, generator=seeded(3), **count)
    found = run(parts, source, denoise=strength, scheduler=scheduler)
    assert are_equal(parts, found, expected, 1e-5)  # schedulers keep float32 sigmas


@pytest.mark.parametrize("scheduler", [name for name in SAMPLERS if name != "pndm"])
def test_a_frame_that_is_not_denoised_stays_with_every_sampler(exact_model, source, scheduler):
    latents = run(exact_model, source, denoise={"0": 0, "1": 0.3, "2": 1}, scheduler=scheduler)
    assert torch.allclose(latents[:, :, 0], source[:, :, 0])
    assert torch.isfinite(latents).all()
    assert (latents[:, :, 1:] - source[:, :, 1:]).abs().amax((0, 1, 3, 4)).min() > 0.01


def test_frames_of_a_curve_equal_those_of_its_numbers(exact_model, source):
    """Frames without motion do not see each other: each is denoised as if its number were that of the clip."""
    curve = run(exact_model, source, denoise={"0": 0.2, "1": 0.4, "2": 1})
    for frame, share in enumerate((0.2, 0.4, 1)):
        alone = run(exact_model, source, denoise=share)
        assert torch.allclose(curve[:, :, frame], alone[:, :, frame], atol=1e-9)


def test_the_last_steps_alone_are_taken(exact_model, source):
    seen = []
    stepped = Callbacks(on_step=lambda done, total, latents: seen.append((done, total)))
    run(exact_model, source, callbacks=stepped, denoise=0.4)
    assert seen == [(1, 2), (2, 2)]
    given = SETTINGS | STEPS
    taken = [GenerateConfig(**given, video="clip.mp4", denoise=share).steps_taken for share in (0, 0.1, 0.6, 1)]
    assert taken == [1, 1, 3, 5]
    assert GenerateConfig(**given, denoise=0.4).steps_taken == 5
    assert num_denoised(10, 0.7) == 7


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_a_long_video_runs_in_windows(exact_model, toy_motion_file, mode):
    plug(exact_model.unet, load_motion_module(toy_motion_file))
    try:
        source = torch.randn(1, 4, 7, 8, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
        settings = {"denoise": {"0": 0, "-1": 0.8}, "context_length": 4, "context_overlap": 2, "context_mode": mode}
        latents = run(exact_model, source, **settings, steps=2)
        assert torch.equal(latents[:, :, 0], source[:, :, 0])
        assert (latents[:, :, 6] - source[:, :, 6]).abs().max() > 0.01
    finally:
        unplug(exact_model.unet)


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


def test_inversion_changes_the_noise_of_the_clip(exact_model, source):
    inverted, random = (run(exact_model, source, invert=invert, denoise=0.4) for invert in (True, False))
    assert (inverted - random).abs().max() > 0.01
    kept = run(exact_model, source, invert=True, denoise={"0": 0, "-1": 0.4})
    assert torch.allclose(kept[:, :, 0], source[:, :, 0])
