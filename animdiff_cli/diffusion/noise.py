"""The noise a seed stands for, the same on every device."""

import torch
from torch import Tensor

LATENT_CHANNELS = 4


def seeded_generator(seed: int) -> torch.Generator:
    """Return a CPU generator for any unsigned 64-bit seed; torch maps those above 2**63 onto themselves."""
    return torch.Generator("cpu").manual_seed(seed)


def initial_noise(generator: torch.Generator, num_frames: int, height: int, width: int) -> Tensor:
    """Draw unit noise in float32: [1, 4, F, height, width], sizes in latents, as diffusers draws it."""
    return torch.randn((1, LATENT_CHANNELS, num_frames, height, width), generator=generator, dtype=torch.float32)
