"""The training objective as pure functions of tensors. Clips are `[B, F, 4, h, w]` with one timestep per clip."""

import torch
import torch.nn.functional as F
from torch import Tensor

from animdiff_cli.core.choices import NoiseSchedule, PredictionType
from animdiff_cli.diffusion.schedulers import BETA_END, make_scheduler

#: default noise schedules (official YAMLs): stills use the image model's, clips use linear betas
STILL_BETAS: NoiseSchedule = "scaled_linear"
CLIP_BETAS: NoiseSchedule = "linear"


def alphas_cumprod(
    beta_schedule: str,
    device: torch.device | str = "cpu",
    *,
    beta_end: float = BETA_END,
    rescale_betas_zero_snr: bool = False,
) -> Tensor:
    """Return the cumulative product of alphas for each of 1000 timesteps, float32 `[1000]`.

    `rescale_betas_zero_snr`: the last timestep is pure noise, 0 (Lin et al., 2305.08891).
    """
    scheduler = make_scheduler(
        "ddpm",
        beta_schedule,
        "v_prediction",  # the table does not depend on it
        beta_end=beta_end,
        rescale_betas_zero_snr=rescale_betas_zero_snr,
    )
    table: Tensor = scheduler.alphas_cumprod
    return table.float().to(device)


def add_noise(latents: Tensor, noise: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Return sqrt(a) · latents + sqrt(1 − a) · noise for latents `[B, ...]` and `alpha_cumprod` `[B]`."""
    signal, rest = _factors(alpha_cumprod, latents)
    return signal * latents + rest * noise


def noise_between(latents: Tensor, noisy: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Return the noise with which `add_noise` turns latents `[B, ...]` into `noisy`; `alpha_cumprod` is `[B]`.

    The usual schedules do not end in pure noise (Lin et al., 2305.08891): at the last timestep a clip's slow,
    wide motion is still visible, so a model learns to follow it, while sampling starts with noise that has none. If
    `noisy` is pure noise, a model that predicts the result learns to start from noise alone.
    """
    signal, rest = _factors(alpha_cumprod, latents)
    return (noisy - signal * latents) / rest


def prediction_target(
    latents: Tensor, noise: Tensor, alpha_cumprod: Tensor, prediction: PredictionType = "epsilon"
) -> Tensor:
    """Return what the model should predict: the noise, the velocity (Salimans & Ho 2022), or the clip (`sample`)."""
    if prediction != "v_prediction":
        return noise if prediction == "epsilon" else latents
    signal, rest = _factors(alpha_cumprod, latents)
    return signal * noise - rest * latents


def snr_weights(alpha_cumprod: Tensor, gamma: float | None, prediction: PredictionType = "epsilon") -> Tensor:
    """Return the loss weight of each clip `[B]`: min(SNR, gamma) / SNR for noise (Min-SNR, 2303.09556).

    Losses at little noise are large and independent of motion, which is decided where a clip is mostly noise; a small
    gamma emphasizes those timesteps. None gives equal weights, as in the paper. For velocities the divisor is SNR + 1;
    for clips it is 1.
    """
    if gamma is None:
        return torch.ones_like(alpha_cumprod)
    snr = alpha_cumprod / (1 - alpha_cumprod)
    if prediction == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1 if prediction == "v_prediction" else 1)


def mse_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean squared error in float32 (AnimateDiff, equations 2 and 7); clips have `weights` `[B]`."""
    errors = F.mse_loss(predicted.float(), target.float(), reduction="none")
    return (errors.flatten(1).mean(dim=1) * weights).mean()


def debiased(values: Tensor, anchor: Tensor, beta: float) -> Tensor:
    """Remove appearance: subtract one frame from all frames, sqrt(beta² + 1) · x_i − beta · x_anchor.

    Appearance, which all frames share, shrinks to 0.41 at beta 1; differences between frames grow (MotionDirector,
    equation 6). `values` is `[B, F, ...]`, `anchor` is `[B]` frame numbers.
    """
    chosen = values[torch.arange(len(values), device=values.device), anchor].unsqueeze(1)
    scale = float((beta**2 + 1) ** 0.5)
    return scale * values - beta * chosen


def motion_loss(predicted: Tensor, target: Tensor, anchor: Tensor, beta: float, weights: Tensor) -> Tensor:
    """Return the mean squared error, plus that of the appearance-debiased values if `beta` is above 0."""
    loss = mse_loss(predicted, target, weights)
    if beta > 0:
        loss = loss + mse_loss(
            debiased(predicted.float(), anchor, beta), debiased(target.float(), anchor, beta), weights
        )
    return loss


def _factors(alpha_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(a) and sqrt(1 − a), shaped to multiply a tensor `[B, ...]`."""
    share = alpha_cumprod.view(-1, *[1] * (like.dim() - 1))
    return share.sqrt(), (1 - share).sqrt()
