"""What is minimised. Pure functions of tensors; clips are [B, F, 4, h, w], one timestep per clip."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from animdiff_cli.core.choices import NoiseSchedule
from animdiff_cli.diffusion.schedulers import BETA_END, make_scheduler

#: noise schedule of each kind of pass (official YAMLs): stills as the image model learned, clips on linear betas
STILL_BETAS: NoiseSchedule = "scaled_linear"
CLIP_BETAS: NoiseSchedule = "linear"


def alphas_cumprod(beta_schedule: str, device: torch.device | str = "cpu", *, beta_end: float = BETA_END) -> Tensor:
    """Return the share of signal power left after each of 1000 timesteps, float32 [1000]."""
    table: Tensor = make_scheduler("ddpm", beta_schedule, beta_end=beta_end).alphas_cumprod
    return table.float().to(device)


def add_noise(latents: Tensor, noise: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Mix latents [B, ...] with noise like them; `alpha_cumprod` [B]."""
    signal, rest = _shares(alpha_cumprod, latents)
    return signal * latents + rest * noise


def noise_hiding(latents: Tensor, shown: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Return the noise that mixed with latents [B, ...] leaves `shown` and nothing of them; `alpha_cumprod` [B].

    No schedule of Stable Diffusion ends in pure noise (Lin et al., 2305.08891): at its last timestep a clip's slow,
    wide motion can still be seen, so what a model learns there is to follow it, and sampling begins with noise that
    has none. A model shown noise alone, and asked for what would turn it into the clip, learns which way to begin.
    """
    signal, rest = _shares(alpha_cumprod, latents)
    return (shown - signal * latents) / rest


def target(
    latents: Tensor, noise: Tensor, alpha_cumprod: Tensor, prediction: Literal["epsilon", "v_prediction"] = "epsilon"
) -> Tensor:
    """Return what the model should say: the noise, or the velocity (Salimans & Ho 2022)."""
    if prediction == "epsilon":
        return noise
    signal, rest = _shares(alpha_cumprod, latents)
    return signal * noise - rest * latents


def snr_weights(
    alpha_cumprod: Tensor, gamma: float | None, prediction: Literal["epsilon", "v_prediction"] = "epsilon"
) -> Tensor:
    """Return the weight of each clip [B] by its signal-to-noise ratio: min(SNR, gamma) / SNR (Min-SNR, 2303.09556).

    Errors at little noise are large and say nothing about motion, which is decided where a clip is mostly noise; a
    small gamma lets those steps count. None weighs nothing, as the paper does. For velocities the divisor is SNR + 1.
    """
    if gamma is None:
        return torch.ones_like(alpha_cumprod)
    snr = alpha_cumprod / (1 - alpha_cumprod)
    return snr.clamp(max=gamma) / (snr if prediction == "epsilon" else snr + 1)


def mse(predicted: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Mean square error in float32 (AnimateDiff, equations 2 and 7), each clip weighted by `weights` [B]."""
    errors = F.mse_loss(predicted.float(), wanted.float(), reduction="none")
    return (errors.flatten(1).mean(dim=1) * weights).mean()


def debiased(values: Tensor, anchor: Tensor, beta: float) -> Tensor:
    """Take one frame of each clip out of all its frames: sqrt(beta² + 1) · x_i − beta · x_anchor.

    What all frames share, which is appearance, shrinks to 0.41 of itself at beta 1; what differs from frame to frame
    grows (MotionDirector, equation 6). `values` [B, F, ...], `anchor` [B] frame numbers.
    """
    chosen = values[torch.arange(len(values), device=values.device), anchor].unsqueeze(1)
    return (beta**2 + 1) ** 0.5 * values - beta * chosen


def motion_loss(predicted: Tensor, wanted: Tensor, anchor: Tensor, beta: float, weights: Tensor) -> Tensor:
    """Mean square error, plus that of the appearance-debiased values where `beta` is above 0."""
    loss = mse(predicted, wanted, weights)
    if beta > 0:
        pair = (debiased(values.float(), anchor, beta) for values in (predicted, wanted))
        loss = loss + mse(*pair, weights)
    return loss


def _shares(alpha_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    share = alpha_cumprod.view(-1, *[1] * (like.dim() - 1))
    return share.sqrt(), (1 - share).sqrt()
