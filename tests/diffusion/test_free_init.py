"""FreeInit, against a straight computation with numpy."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.free_init import LowPass, mixed_noise
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pipeline import Callbacks, Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import SAMPLERS, make_scheduler
from animdiff_cli.diffusion.text import encode_prompt

ALPHA = 0.0047
FILTERS = ("butterworth", "gaussian", "ideal")


def drawn(count, *shape):
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(1, 4, *shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def gain_at(kind, distance, spatial, order):
    """Return the gain at a distance from frequency 0 in the units of the spatial axes (paper, appendix)."""
    if kind == "butterworth":
        return 1 / (1 + (distance / spatial) ** (2 * order))
    if kind == "gaussian":
        return np.exp(-(distance**2) / (2 * spatial**2))
    return float(distance <= spatial)


def plain(latents, noise, fresh, kind, spatial, temporal, order):
    """Mix by full transforms and a filter that is filled frequency by frequency."""
    diffused = np.sqrt(ALPHA) * latents + np.sqrt(1 - ALPHA) * noise
    size = noise.shape[-3:]
    axes = [np.fft.fftfreq(count) * 2 for count in size]
    gain = np.empty(size)
    for f, h, w in product(*map(range, size)):
        distance = np.sqrt((spatial / temporal * axes[0][f]) ** 2 + axes[1][h] ** 2 + axes[2][w] ** 2)
        gain[f, h, w] = gain_at(kind, distance, spatial, order)
    low, high = (np.fft.fftn(x, axes=(-3, -2, -1)) for x in (diffused, fresh))
    return np.fft.ifftn(low * gain + high * (1 - gain), axes=(-3, -2, -1))


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("shape", [(16, 8, 8), (5, 6, 7), (1, 4, 4), (7, 1, 3)])
@pytest.mark.parametrize(("spatial", "temporal", "order"), [(0.25, 0.25, 4), (0.6, 0.3, 2)])
def test_noise_is_mixed_as_numpy_mixes_it(kind, shape, spatial, temporal, order):
    latents, noise, fresh = drawn(3, *shape)
    ours = mixed_noise(latents, noise, fresh, ALPHA, LowPass(kind, spatial, temporal, order))
    theirs = plain(latents.numpy(), noise.numpy(), fresh.numpy(), kind, spatial, temporal, order)
    assert np.abs(theirs.imag).max() < 1e-12
    assert np.abs(ours.numpy() - theirs.real).max() < 1e-12


@pytest.mark.parametrize("kind", FILTERS)
def test_mixed_noise_keeps_unit_variance(kind):
    """Gains near the cut-off mix two independent halves, which loses a little."""
    latents, noise, fresh = drawn(3, 32, 32, 32)
    mixed = mixed_noise(latents, noise, fresh, ALPHA, LowPass(kind))
    assert 0.97 < mixed.std() < 1.01
    assert abs(mixed.mean()) < 0.01


def test_a_filter_that_keeps_everything_returns_the_diffused_clip():
    latents, noise, fresh = drawn(3, 4, 8, 8)
    mixed = mixed_noise(latents, noise, fresh, ALPHA, LowPass("butterworth", 100, 100, 8))
    assert (mixed - (ALPHA**0.5 * latents + (1 - ALPHA) ** 0.5 * noise)).abs().max() < 1e-12


@pytest.fixture(scope="module")
def pipe(toy_model):
    parts = load_components(toy_model, DevicePlan("cpu", 0, "fp32"))
    return Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts))


def sampled(pipe, *, on_step=lambda done, total, latents: None, **settings):
    config = GenerateConfig(
        prompt="a fox",
        model="toy",
        seed=5,
        beta_schedule="linear",
        num_frames=3,
        width=64,
        height=64,
        **{"steps": 2, "guidance_scale": 1, **settings},
    )
    return sample_latents(pipe, config, Callbacks(on_step=on_step))


def test_passes_of_the_loop_equal_passes_made_by_hand(pipe):
    generator = seeded_generator(5)
    noise, scheduler = initial_noise(generator, 3, 8, 8), make_scheduler("ddim")
    text = pipe.encode("a fox", clip_skip=0, syntax="a1111").embeds

    def denoised(latents):
        scheduler.set_timesteps(2)
        for timestep in scheduler.timesteps:
            predicted = [pipe.unet(latents[:, :, f], timestep, encoder_hidden_states=text).sample for f in range(3)]
            latents = scheduler.step(torch.stack(predicted, 2), timestep, latents).prev_sample
        return latents

    with torch.no_grad():
        first = denoised(noise)
        diffused = scheduler.add_noise(first, noise, torch.tensor([999]))
        low = torch.fft.fftn(diffused, dim=(-3, -2, -1))
        high = torch.fft.fftn(initial_noise(generator, 3, 8, 8), dim=(-3, -2, -1))
        frequencies = torch.meshgrid(*(torch.fft.fftfreq(size) * 2 for size in (3, 8, 8)), indexing="ij")
        gain = torch.exp(-sum(f**2 for f in frequencies) / (2 * 0.25**2))
        second = denoised(torch.fft.ifftn(low * gain + high * (1 - gain), dim=(-3, -2, -1)).real)
    ours = sampled(pipe, free_init=2, free_init_filter="gaussian")
    assert (ours - second).abs().max() < 1e-4 * second.std()
    assert (first - second).abs().max() > 0.1 * second.std()


def test_one_pass_is_a_render_without_free_init(pipe):
    assert torch.equal(sampled(pipe, free_init=1), sampled(pipe))


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler_ends_at_the_scale_of_one_pass(pipe, scheduler):
    """With Euler, a clip that is mixed with unscaled noise doubles in every pass."""
    once, twice = (sampled(pipe, scheduler=scheduler, free_init=passes) for passes in (1, 2))
    assert torch.equal(twice, sampled(pipe, scheduler=scheduler, free_init=2))
    assert 0.8 < twice.std() / once.std() < 1.25


def test_progress_counts_the_steps_of_all_passes(pipe):
    seen = []
    sampled(pipe, free_init=3, on_step=lambda done, total, latents: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]
