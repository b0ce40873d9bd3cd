"""Known frames come back exactly, and the new ones go on from them."""

from functools import partial

import pytest
import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.conditions import KnownFrames
from animdiff_cli.diffusion.decode import decode
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.encode import encode
from animdiff_cli.diffusion.pipeline import SILENT, Callbacks, Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import SAMPLERS, make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import load_motion_module, plug

SETTINGS = {"prompt": "a fox", "model": "toy", "seed": 5, "beta_schedule": "linear", "width": 64, "height": 64}


@pytest.fixture
def parts(toy_model):
    return load_components(toy_model, DevicePlan("cpu", 0, "fp32"))


@pytest.fixture
def known():
    """Two known frames and their noise, [1, 4, 2, 8, 8]."""
    return torch.randn(2, 1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def run(parts, known=None, *, scheduler="ddim", callbacks=SILENT, **settings):
    config = GenerateConfig(**SETTINGS | {"steps": 3, "num_frames": 4, "scheduler": scheduler} | settings)
    conditions = () if known is None else (KnownFrames(*known),)
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), conditions)
    return sample_latents(pipe, config, callbacks)


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_known_frames_come_back_exactly_with_every_sampler(parts, known, scheduler):
    latents = run(parts, known, scheduler=scheduler)
    assert torch.equal(latents[:, :, :2], known[0])
    assert torch.isfinite(latents).all()


def test_new_frames_depend_on_the_known_ones_through_the_motion_module_alone(parts, known, toy_motion_file):
    assert torch.equal(run(parts, known)[:, :, 2:], run(parts)[:, :, 2:])
    plug(parts.unet, load_motion_module(toy_motion_file))
    alone, beside, other = (run(parts, frames)[:, :, 2:] for frames in (None, known, -known))
    assert min((beside - alone).abs().max(), (beside - other).abs().max()) > 0.01


def test_known_frames_also_come_back_from_context_windows(parts, known, toy_motion_file):
    plug(parts.unet, load_motion_module(toy_motion_file))
    latents = run(parts, known, num_frames=7, context_length=4, context_overlap=2)
    assert torch.equal(latents[:, :, :2].float(), known[0])


def test_between_steps_known_frames_are_as_noisy_as_the_next_step_expects(parts, known):
    seen = []
    run(parts, known, callbacks=Callbacks(on_step=lambda done, total, latents: seen.append(latents[:, :, :2])))
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(3)
    expected = [scheduler.add_noise(*known, timestep.reshape(1)) for timestep in scheduler.timesteps[1:]]
    assert all(torch.equal(one, other) for one, other in zip(seen, [*expected, known[0]], strict=True))


def test_encoding_is_that_of_the_library_and_decoding_takes_it(parts):
    frames = torch.randint(0, 256, (3, 64, 64, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    latents = encode(parts.vae, frames.numpy())
    with torch.no_grad():
        mean = parts.vae.encode(frames.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mode()
    assert torch.allclose(latents[0].transpose(0, 1), mean * parts.vae.config.scaling_factor, atol=1e-6)
    assert decode(parts.vae, latents).shape == (3, 64, 64, 3)
