"""What is minimised. Pure functions of tensors; clips are [B, F, 4, h, w], one timestep per clip."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from animdiff_cli.diffusion.schedulers import make_scheduler

#: noise schedule of each kind of pass (official YAMLs): stills as the image model learned, clips on linear betas
STILL_BETAS, CLIP_BETAS = "scaled_linear", "linear"


def alpha_bars(beta_schedule: str, device: torch.device | str = "cpu") -> Tensor:
    """Return the share of signal power left after each of 1000 timesteps, float32 [1000]."""
    table: Tensor = make_scheduler("ddpm", beta_schedule).alphas_cumprod
    return table.float().to(device)


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Mix latents [B, ...] with noise like them; `alpha_bar` [B]."""
    signal, rest = _shares(alpha_bar, latents)
    return signal * latents + rest * noise


def target(
    latents: Tensor, noise: Tensor, alpha_bar: Tensor, prediction: Literal["epsilon", "v_prediction"] = "epsilon"
) -> Tensor:
    """Return what the model should say: the noise, or the velocity (Salimans & Ho 2022)."""
    if prediction == "epsilon":
        return noise
    signal, rest = _shares(alpha_bar, latents)
    return signal * noise - rest * latents


def mse(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean square error in float32 (AnimateDiff, equations 2 and 7)."""
    return F.mse_loss(predicted.float(), wanted.float())


def debiased(values: Tensor, anchor: Tensor, beta: float) -> Tensor:
    """Take one frame of each clip out of all its frames: sqrt(beta² + 1) · x_i − beta · x_anchor.

    What all frames share, which is appearance, shrinks to 0.41 of itself at beta 1; what differs from frame to frame
    grows (MotionDirector, equation 6). `values` [B, F, ...], `anchor` [B] frame numbers.
    """
    chosen = values[torch.arange(len(values), device=values.device), anchor].unsqueeze(1)
    return (beta**2 + 1) ** 0.5 * values - beta * chosen


def motion_loss(predicted: Tensor, wanted: Tensor, anchor: Tensor, beta: float) -> Tensor:
    """Mean square error, plus that of the appearance-debiased values where `beta` is above 0."""
    loss = mse(predicted, wanted)
    if beta > 0:
        loss = loss + mse(debiased(predicted.float(), anchor, beta), debiased(wanted.float(), anchor, beta))
    return loss


def _shares(alpha_bar: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    share = alpha_bar.view(-1, *[1] * (like.dim() - 1))
    return share.sqrt(), (1 - share).sqrt()
