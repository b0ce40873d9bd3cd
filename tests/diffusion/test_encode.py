"""Encoding of pictures on a device with a memory budget (`tests/budget_device.py`)."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from animdiff_cli.core.memory_levels import MemoryLevel
from animdiff_cli.diffusion import encode as module
from animdiff_cli.diffusion.encode import encode
from animdiff_cli.diffusion.low_vram import LowVram
from tests import budget_device


@pytest.mark.parametrize(
    ("share", "levels", "is_equal"),
    [
        (0.6, ["offload"], True),
        (0.22, ["offload", "offload, VAE tiles of 512 pixels", "offload, VAE tiles of 256 pixels"], False),
    ],
    ids=["fewer at once", "tiles"],
)
def test_encoding_goes_on_with_less_memory(monkeypatch, share, levels, is_equal):
    """With fewer pictures at once the latents are the same, with tiles nearly."""
    monkeypatch.setattr(module, "CHUNK", 4 * 512 * 64)
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = AutoencoderKL(**blocks, block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4).eval()
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 512, 3), dtype=np.uint8)
    notes = []
    with budget_device.memory() as meter:
        low_vram = LowVram(budget_device.budget_device(), MemoryLevel("offload"), [], [vae], vae, torch.float32)
        latents = encode(vae, frames, low_vram=low_vram)
        meter.budget = int(share * meter.peak)
        again = encode(vae, frames, low_vram=low_vram, report=notes.append)
        assert meter.refused
    words = [note.rpartition("at ")[2].strip("`") for note in notes]
    assert list(dict.fromkeys(words)) == levels
    assert notes[0] == "out of memory on budget:0: encoding picture 1 again at `offload`"
    assert torch.equal(again, latents) == is_equal
