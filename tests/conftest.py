"""Shared fixtures: real classes at toy size."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from animdiff_cli.motion import MotionModule

torch.set_num_threads(1)


@pytest.fixture
def make_unet():
    """Build a stock UNet of SD1.5 layout (four levels) or SDXL layout (three levels) at toy width."""

    def build(layout="sd15", *, dtype=torch.float64, layers=1, seed=0):
        torch.manual_seed(seed)
        cross_down, cross_up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
        levels = {
            "sd15": {
                "down_block_types": (cross_down, cross_down, cross_down, "DownBlock2D"),
                "up_block_types": ("UpBlock2D", cross_up, cross_up, cross_up),
                "block_out_channels": (32, 32, 64, 64),
            },
            "sdxl": {
                "down_block_types": ("DownBlock2D", cross_down, cross_down),
                "up_block_types": (cross_up, cross_up, "UpBlock2D"),
                "block_out_channels": (32, 64, 64),
                "use_linear_projection": True,
            },
        }[layout]
        unet = UNet2DConditionModel(
            sample_size=8, layers_per_block=layers, cross_attention_dim=24, attention_head_dim=8, **levels
        )
        return unet.to(dtype).eval()

    return build


@pytest.fixture
def make_motion():
    """Build a motion module for a UNet with every weight random, so that no part of it can hide behind a zero."""

    def build(unet, version="v3", seed=1):
        motion = MotionModule.from_unet(unet, version).to(unet.dtype).eval()
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in motion.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2
            bias = 1.0 if name.endswith("norm.weight") or ".norms." in name and name.endswith(".weight") else 0.0
            parameter.data.copy_(noise + bias)
        return motion

    return build
