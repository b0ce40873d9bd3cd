"""Training noise with a random offset (offset noise)."""

import torch
from torch import Tensor

NOISE_OFFSET = 0.3
"""Deviation of the constant added to each channel's noise.

On 16 x 16 latents the mean of plain noise is nearly 0, so the mean of the noisy latent tells the model what the place's
colours are even at the last timestep, and it learns to ignore the prompt's. At inference that mean is only noise.
"""


def draw_noise(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise like `latents` [..., 4, h, w], float32, with an offset for each image and channel."""
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    offset = torch.randn((*latents.shape[:-2], 1, 1), generator=generator, device=latents.device)
    return noise + NOISE_OFFSET * offset
