"""DDIM inversion: the noise from which DDIM renders a given clip."""

from typing import Any

import torch
from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import ClipStart


def inverted_noise(start: ClipStart, latents: Tensor) -> Tensor:
    """Return noise of unit variance that leads back to `latents` [1, 4, F, h, w] (Song et al. 2021, section 4.3).

    Runs the steps of the sampler backwards, from the clip up to the noise of its first step. A step takes the
    prediction at the latents before it in place of those after it, which are not known yet.
    """
    clean, levels = latents, _levels(start.scheduler, latents)
    timesteps = list(reversed(start.timesteps.tolist()))
    below = torch.ones_like(levels[0])
    for time in dict.fromkeys(timesteps):
        timestep = torch.as_tensor(time, dtype=start.timesteps.dtype, device=start.timesteps.device)
        predicted = start.predict(latents, timestep, len(timesteps) - 1 - timesteps.index(time))
        level = levels[int(time)]
        noise = _noise_in(latents, predicted, level, start.scheduler.config.prediction_type)
        image = (latents - (1 - below).sqrt() * noise) / below.sqrt()
        latents, below = level.sqrt() * image + (1 - level).sqrt() * noise, level
    return (latents - below.sqrt() * clean) / (1 - below).sqrt()


def _levels(scheduler: Any, latents: Tensor) -> Tensor:
    """Return the share of the image in the variance at each timestep of training."""
    levels: Tensor = scheduler.alphas_cumprod
    return levels.to(latents.device, torch.float32)


def _noise_in(latents: Tensor, predicted: Tensor, level: Tensor, prediction_type: str) -> Tensor:
    """Return the noise in `latents` by a prediction of the UNet."""
    signal, spread = level.sqrt(), (1 - level).sqrt()
    if prediction_type == "v_prediction":
        return signal * predicted + spread * latents
    return (latents - signal * predicted) / spread if prediction_type == "sample" else predicted
