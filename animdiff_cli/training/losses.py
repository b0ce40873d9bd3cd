"""Denoising losses and their gradients: of clips with the motion module, or of single frames without it."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from animdiff_cli.core.choices import NoiseSchedule, PredictionType
from animdiff_cli.diffusion.conditions.sdxl import added_cond_kwargs
from animdiff_cli.diffusion.schedulers import BETA_END
from animdiff_cli.motion import MotionModule, plugged
from animdiff_cli.motion.unet import UNet
from animdiff_cli.training.data.batches import Batch
from animdiff_cli.training.objective import (
    CLIP_BETAS,
    STILL_BETAS,
    add_noise,
    alphas_cumprod,
    motion_loss,
    mse_loss,
    prediction_target,
    snr_weights,
)


@dataclass(frozen=True, slots=True)
class DenoisingLosses:
    """The UNet, its prediction type, the autocast dtype and the noise schedules of stills and clips.

    Each loss is returned detached, after a backward pass of `scale` times the loss. Forward and backward pass run
    inside the same contexts, because gradient checkpointing runs the forward pass again in the backward pass.
    """

    unet: UNet
    autocast: torch.dtype | None
    prediction: PredictionType
    still_alphas_cumprod: Tensor
    clip_alphas_cumprod: Tensor
    snr_gamma: float | None = None

    @classmethod
    def of(
        cls,
        unet: UNet,
        prediction: PredictionType = "epsilon",
        snr_gamma: float | None = None,
        *,
        still_betas: NoiseSchedule = STILL_BETAS,
        clip_betas: NoiseSchedule = CLIP_BETAS,
        still_beta_end: float = BETA_END,
        clip_beta_end: float = BETA_END,
        rescale_betas_zero_snr: bool = False,
    ) -> "DenoisingLosses":
        """Create the losses of a UNet on its device, with autocast unless its weights are float32."""
        table = partial(alphas_cumprod, device=unet.device, rescale_betas_zero_snr=rescale_betas_zero_snr)
        return cls(
            unet=unet,
            autocast=None if unet.dtype == torch.float32 else unet.dtype,
            prediction=prediction,
            still_alphas_cumprod=table(still_betas, beta_end=still_beta_end),
            clip_alphas_cumprod=table(clip_betas, beta_end=clip_beta_end),
            snr_gamma=snr_gamma,
        )

    def video_loss(self, batch: Batch, motion: MotionModule, debias: float, scale: float) -> Tensor:
        """Return the loss of whole clips (AnimateDiff, equation 7)."""
        alpha_cumprod = self.clip_alphas_cumprod[batch.timesteps]
        target = prediction_target(batch.latents, batch.noise, alpha_cumprod, self.prediction)
        with motion.frames(batch.latents.shape[1]):
            predicted = self._predict(add_noise(batch.latents, batch.noise, alpha_cumprod), batch)
            weights = snr_weights(alpha_cumprod, self.snr_gamma, self.prediction)
            return _backward(motion_loss(predicted, target, batch.frame, debias, weights), scale)

    def image_loss(self, batch: Batch, scale: float) -> Tensor:
        """Return the loss of one frame of each clip, without the motion module (AnimateDiff, equation 2)."""
        alpha_cumprod = self.still_alphas_cumprod[batch.timesteps]
        chosen = torch.arange(len(batch), device=batch.frame.device), batch.frame
        latents, noise = batch.latents[chosen].unsqueeze(1), batch.noise[chosen].unsqueeze(1)
        attached = plugged(self.unet)
        with attached.motion.disabled() if attached else nullcontext():
            predicted = self._predict(add_noise(latents, noise, alpha_cumprod), batch)
            target = prediction_target(latents, noise, alpha_cumprod, self.prediction)
            return _backward(mse_loss(predicted, target, torch.ones_like(alpha_cumprod)), scale)

    def _predict(self, noisy: Tensor, batch: Batch) -> Tensor:
        """Run the UNet on `[B, F, 4, h, w]`. All frames of a clip share its text `[L, D]` (see `share_text`)."""
        frames = noisy.shape[1]
        unet_kwargs = {}
        if batch.pooled is not None and batch.sizes is not None:
            unet_kwargs = added_cond_kwargs(batch.pooled, batch.sizes, frames)
        with torch.autocast(noisy.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            output: Tensor = self.unet(
                noisy.flatten(0, 1).to(self.unet.dtype),
                batch.timesteps.repeat_interleave(frames),
                encoder_hidden_states=batch.text.to(self.unet.dtype),
                return_dict=False,
                **unet_kwargs,
            )[0]
        return output.view_as(noisy)


def _backward(loss: Tensor, scale: float) -> Tensor:
    torch.autograd.backward(loss * scale)
    return loss.detach()
