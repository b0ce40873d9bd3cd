from functools import partial

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import Scheduler
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.decode import decode_chunks
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pipeline import SILENT, Callbacks, Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import SAMPLERS, make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import load_motion_module, plug
from tests.motion.reference import OfficialUNet

PLAN = DevicePlan("cpu", 0, "fp32")


@pytest.fixture
def parts(toy_model):
    return load_components(toy_model, PLAN)


@pytest.fixture
def exact(parts):
    """Return the same parts in float64: random weights under guidance magnify float32 rounding a thousandfold."""
    for part in (parts.unet, parts.vae, parts.text_encoder):
        part.to(torch.float64)
    return parts


def run(parts, *, scheduler="ddim", frames=3, steps=4, guidance=7.5, seed=5, callbacks=SILENT):
    config = GenerateConfig(
        prompt="a fox",
        negative_prompt="blur",
        model="toy",
        seed=seed,
        scheduler=scheduler,
        beta_schedule="linear",
        steps=steps,
        guidance_scale=guidance,
        num_frames=frames,
        width=64,
        height=64,
    )
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts))
    noise = initial_noise(seeded_generator(seed), frames, 8, 8).to(parts.unet.dtype)
    return sample_latents(pipe, config, callbacks, noise=noise)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_without_motion_each_frame_is_what_stable_diffusion_draws(exact, guidance):
    scheduler = make_scheduler("ddim")
    pipe = StableDiffusionPipeline(
        vae=exact.vae,
        text_encoder=exact.text_encoder,
        tokenizer=exact.tokenizer,
        unet=exact.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    noise = initial_noise(seeded_generator(5), 3, 8, 8).double()
    ours = run(exact, guidance=guidance)
    for frame in range(3):
        theirs = pipe(
            "a fox",
            negative_prompt="blur",
            guidance_scale=guidance,
            num_inference_steps=4,
            latents=noise[:, :, frame],
            height=64,
            width=64,
            output_type="latent",
        ).images
        assert (theirs - ours[:, :, frame]).abs().max() < 1e-8 * ours.std()


def test_with_motion_the_loop_walks_the_official_network(exact, toy_motion_file):
    motion = load_motion_module(toy_motion_file).double()
    official = OfficialUNet(exact.unet, motion.state_dict(), "v3")
    text, negative = (encode_prompt(exact, prompt).embeds for prompt in ("a fox", "blur"))
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(3)
    latents = initial_noise(seeded_generator(5), 3, 8, 8).double()
    with torch.no_grad():
        for t in scheduler.timesteps:
            noise_uncond, noise_text = (official(latents, t, embeds) for embeds in (negative, text))
            latents = scheduler.step(noise_uncond + 7.5 * (noise_text - noise_uncond), t, latents).prev_sample
    plug(exact.unet, motion)
    ours = run(exact, steps=3)
    assert (ours - latents).abs().max() < 1e-8 * latents.std()


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler_ends_in_finite_latents_and_repeats_itself(parts, scheduler):
    first = run(parts, scheduler=scheduler)
    assert first.shape == (1, 4, 3, 8, 8)
    assert torch.isfinite(first).all()
    assert torch.equal(first, run(parts, scheduler=scheduler))


def test_ddim_visits_the_official_timesteps():
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(25)
    assert scheduler.timesteps.tolist() == list(range(961, 0, -40))
    assert scheduler.config.beta_schedule == "linear"
    assert scheduler.alphas_cumprod[-1].item() == pytest.approx(0.0016, abs=5e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_uses_the_schedule_of_the_motion_stage(name):
    config = make_scheduler(name).config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "linear")


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_trailing_steps_begin_at_the_noisiest(steps):
    scheduler = make_scheduler("euler", timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == [999 - 1000 // steps * step for step in range(steps)]


def test_the_schedule_ends_where_it_is_told():
    scheduler = make_scheduler("euler", "scaled_linear", beta_end=0.02)
    assert scheduler.betas[-1].item() == pytest.approx(0.02)


def test_latents_of_a_clip_in_windows_stay_on_the_cpu(parts, toy_motion_file):
    plug(parts.unet, load_motion_module(toy_motion_file))
    latents = run(parts, frames=33, steps=1, guidance=1)
    assert latents.device.type == "cpu" and latents.shape[:3] == (1, 4, 33)
    assert latents.isfinite().all()


def test_progress_counts_every_step(parts):
    seen = []
    on_step = lambda done, total, latents: seen.append((done, total, latents))  # noqa: E731
    last = run(parts, frames=1, steps=3, guidance=1, callbacks=Callbacks(on_step=on_step))
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(seen[-1][2], last)


@pytest.mark.parametrize("seed", [0, 2**32, 2**63, 2**64 - 1])
def test_any_unsigned_64_bit_seed_is_a_seed(seed):
    noise = initial_noise(seeded_generator(seed), 2, 3, 5)
    assert noise.shape == (1, 4, 2, 3, 5)
    assert noise.dtype == torch.float32
    assert torch.equal(noise, initial_noise(seeded_generator(seed), 2, 3, 5))


def test_chunked_decoding_equals_decoding_at_once(parts):
    latents = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    (at_once,) = decode_chunks(parts.vae, latents, chunk_size=5)
    assert at_once.shape == (5, 64, 64, 3)
    assert at_once.dtype == np.uint8
    in_chunks = list(decode_chunks(parts.vae, latents, chunk_size=2))
    assert [len(chunk) for chunk in in_chunks] == [2, 2, 1]
    assert np.abs(at_once.astype(int) - np.concatenate(in_chunks)).max() <= 1


def test_every_scheduler_name_of_the_schema_is_a_sampler():
    assert set(SAMPLERS) == set(Scheduler.__args__)
