"""The noise of a seed, the same on every device."""

import torch
from torch import Tensor

LATENT_CHANNELS = 4


def seeded_generator(seed: int) -> torch.Generator:
    """Return a CPU generator for any unsigned 64-bit seed."""
    return torch.Generator("cpu").manual_seed(seed)


def initial_noise(generator: torch.Generator, num_frames: int, height: int, width: int) -> Tensor:
    """Draw float32 noise of unit variance, [1, 4, F, height, width] in latents, as diffusers does."""
    return torch.randn((1, LATENT_CHANNELS, num_frames, height, width), generator=generator, dtype=torch.float32)
