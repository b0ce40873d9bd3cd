"""Counted memory, against the tensors that are alive while a UNet runs."""

import weakref

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from animdiff_cli.core.memory_levels import GROUPS
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.cross_attention import cached_text
from animdiff_cli.diffusion.frame_groups import group_frames
from animdiff_cli.diffusion.memory import activation_bytes, decoding_bytes, free_memory, total_memory
from animdiff_cli.motion import MotionModule, plug

LEVELS = {"layers_per_block": 2, "cross_attention_dim": 64, "attention_head_dim": 8, "sample_size": 64}
SD15 = {**LEVELS, "block_out_channels": (64, 128, 256, 256)}
SDXL = {
    **LEVELS,
    "block_out_channels": (64, 128, 256),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
}


class LiveTensors(TorchDispatchMode):
    """Count the bytes of storages that exist at once, without those in `known`."""

    def __init__(self, known):
        super().__init__()
        self.sizes, self.now, self.peak = {tensor.untyped_storage()._cdata: 0 for tensor in known}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.sizes:
                storage = tensor.untyped_storage()
                self.sizes[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, key)
        return output

    def _free(self, key):
        self.now -= self.sizes.pop(key, 0)


@torch.no_grad()
@pytest.mark.parametrize("groups", [1, *GROUPS[1:]])
@pytest.mark.parametrize(
    ("config", "version"),
    [(SD15, "v1"), (SD15, "v2"), (SDXL, "sdxl")],
    ids=["v1", "v2", "sdxl"],
)
def test_activations_are_counted(config, version, groups, monkeypatch):
    """The count is no less than what a plugged UNet needs for 32 frames in windows, and not much more.

    On the meta device, where nothing is computed. The fused attention kernels of CPU and CUDA hold no scores.
    """
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention",
        lambda query, key, value, **_: query.new_empty(*query.shape[:-1], value.shape[-1]),
    )
    frames, height, width = 32, 32, 48
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).to(torch.float16)
        motion = plug(unet, MotionModule.from_unet(unet, version).to("meta", torch.float16))
        latents = torch.empty(frames, 4, height, width, dtype=torch.float16).to(memory_format=torch.channels_last)
        text, timestep = torch.empty(1, 77, 64, dtype=torch.float16), torch.empty(())
    group_frames([unet, motion], groups)
    live = LiveTensors([latents, text, timestep, *unet.parameters(), *unet.buffers(), *motion.parameters()])
    with cached_text(unet), motion.frames(frames, Windows(frames, 16, 4).at(0, 1)), live:
        unet(latents, timestep, text, return_dict=False)
    counted = activation_bytes(
        unet.config,
        (height, width),
        torch.float16,
        images=frames,
        window=16,
        grouped=groups > 1,
        norms_across_frames=version == "v1",
    )
    assert live.peak <= counted <= 1.2 * live.peak


@torch.no_grad()
def test_activations_of_decoding_are_counted():
    with torch.device("meta"):
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        vae = AutoencoderKL(**blocks, block_out_channels=(32, 64, 96, 96), latent_channels=4)
        latents = torch.empty(4, 4, 16, 24)
    live = LiveTensors([latents, *vae.parameters()])
    with live:
        vae.decode(latents)
    counted = decoding_bytes(vae.config, (16, 24), torch.float32, images=4)
    assert 0.97 * live.peak <= counted <= 1.2 * live.peak


def test_free_memory_is_less_than_all():
    free, total = free_memory(torch.device("cpu")), total_memory()
    assert free is not None and total is not None and 0 < free < total
