"""Numbers too large for the format, and clips too large for the memory."""

import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from animdiff_cli import AnimdiffError, generate
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.events import Note
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.decode import decode, decode_chunks
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.errors import DeviceError, IntegrityError
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.weight_files import Weights
from animdiff_cli.jobs.weights import check_weights

HALF = DevicePlan("cpu", 0, "fp16")  # no plan of ours, but every operation here exists


@pytest.fixture
def hot_model(toy_model, tmp_path):
    """A model whose VAE computes numbers beyond 65504 on the way, which a norm brings back: sound in fp32 alone."""
    folder = tmp_path / "hot"
    shutil.copytree(toy_model, folder)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_in.weight"] = weights["decoder.conv_in.weight"] * 3e5
    save_file(weights, path, {"format": "pt"})
    return folder


def test_a_vae_that_overflows_in_half_precision_is_run_in_float32(hot_model):
    latents = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    said = []
    frames = np.concatenate(
        list(decode_chunks(load_components(hot_model, HALF).vae, latents, chunk_size=2, report=said.append))
    )
    assert said == ["the VAE overflows in fp16: decoding in float32"] or "float16" in said[0]
    assert len(said) == 1
    assert frames.shape == (5, 64, 64, 3) and frames.std() > 1
    right = decode(load_components(hot_model, DevicePlan("cpu", 0, "fp32")).vae, latents)
    # the weights themselves were rounded to half precision
    assert np.abs(frames.astype(int) - right).max() <= 3


def test_a_render_says_so_once_however_many_clips_follow(hot_model, toy_motion_file):
    animator = load_animator(check_weights(Weights(hot_model, toy_motion_file)), HALF)
    settings = {"model": "hot", "steps": 1, "num_frames": 5, "width": 64, "height": 64, "prompt": "a fox"}
    events = []
    for seed in (1, 2):
        rendered = animator.render(GenerateConfig(seed=seed, **settings), events.append)
        assert rendered.frames.std() > 1
    notes = [event.message for event in events if isinstance(event, Note)]
    assert len(notes) == 1 and "VAE overflows" in notes[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_latents_that_are_no_numbers_are_refused(toy_model, bad):
    latents = torch.zeros(1, 4, 2, 8, 8)
    latents[0, 0, 1, 3, 3] = bad
    with pytest.raises(DeviceError) as caught:
        decode(load_components(toy_model, HALF).vae, latents)
    assert caught.value.exit_code == 6
    assert "--dtype" in caught.value.hint


@pytest.fixture
def little_memory():
    """Leave this process 400 MB of address space beyond what it has."""
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 400 * 2**20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_out_of_memory_ends_in_code_6_and_what_to_lower(toy_model, little_memory):
    settings = {"model": toy_model, "motion_module": None, "dtype": "fp32", "steps": 1}
    with pytest.raises(AnimdiffError, match="out of memory on cpu while rendering 4 frames of 4096x2048") as caught:
        generate("a fox", num_frames=4, width=4096, height=2048, **settings)
    assert caught.value.exit_code == 6
    assert caught.value.hint == "lower one of: `--width 3072 --height 1536`, `--frames 2`"


@pytest.mark.parametrize("plan", [HALF, DevicePlan("cpu", 0, "fp32")])
def test_a_vae_that_is_not_finite_is_named(toy_model, tmp_path, plan):
    model = shutil.copytree(toy_model, tmp_path / "burnt")
    path = model / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_in.weight"][0] = float("nan")
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(IntegrityError, match="VAE of burnt decodes to NaN"):
        decode(load_components(model, plan).vae, torch.zeros(1, 4, 2, 8, 8))
