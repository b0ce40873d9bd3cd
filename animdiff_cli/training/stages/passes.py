"""One forward and backward pass: over clips with motion plugged in, or over single frames without."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from animdiff_cli.core.choices import NoiseSchedule
from animdiff_cli.diffusion.conditions.sdxl import added_cond_kwargs
from animdiff_cli.diffusion.schedulers import BETA_END
from animdiff_cli.motion import MotionModule, plug, plugged, unplug
from animdiff_cli.training.data.batches import Batch
from animdiff_cli.training.objective import (
    CLIP_BETAS,
    STILL_BETAS,
    add_noise,
    alphas_cumprod,
    motion_loss,
    mse,
    snr_weights,
    target,
)


@dataclass(frozen=True, slots=True)
class Passes:
    """The image model that is trained around, the number format of activations, and what the model predicts.

    Each pass returns its loss, detached, after a backward pass of `scale` times it. The backward runs inside the same
    contexts as the forward, because checkpointing runs the forward again there.
    """

    unet: Any
    autocast: torch.dtype | None
    prediction: Literal["epsilon", "v_prediction"]
    still_alpha_bars: Tensor
    clip_alpha_bars: Tensor
    snr_gamma: float | None = None

    @classmethod
    def around(
        cls,
        unet: Any,
        prediction: str,
        snr_gamma: float | None = None,
        *,
        still_betas: NoiseSchedule = STILL_BETAS,
        clip_betas: NoiseSchedule = CLIP_BETAS,
        still_beta_end: float = BETA_END,
        clip_beta_end: float = BETA_END,
    ) -> "Passes":
        """Prepare the passes on the UNet's device; autocast where its weights are not float32."""
        return cls(
            unet=unet,
            autocast=None if unet.dtype == torch.float32 else unet.dtype,
            prediction="v_prediction" if prediction == "v_prediction" else "epsilon",
            still_alpha_bars=alphas_cumprod(still_betas, unet.device, beta_end=still_beta_end),
            clip_alpha_bars=alphas_cumprod(clip_betas, unet.device, beta_end=clip_beta_end),
            snr_gamma=snr_gamma,
        )

    def video_loss(self, batch: Batch, motion: MotionModule, debias: float, scale: float) -> Tensor:
        """Predict the noise of whole clips (AnimateDiff, equation 7)."""
        alpha_cumprod = self.clip_alpha_bars[batch.timesteps]
        wanted = target(batch.latents, batch.noise, alpha_cumprod, self.prediction)
        with motion.frames(batch.latents.shape[1]):
            predicted = self._predict(add_noise(batch.latents, batch.noise, alpha_cumprod), batch)
            weights = snr_weights(alpha_cumprod, self.snr_gamma, self.prediction)
            return _backward(motion_loss(predicted, wanted, batch.frame, debias, weights), scale)

    def image_loss(self, batch: Batch, scale: float) -> Tensor:
        """Predict the noise of one frame of each clip, motion unplugged (AnimateDiff, equation 2)."""
        alpha_cumprod = self.still_alpha_bars[batch.timesteps]
        chosen = torch.arange(len(batch), device=batch.frame.device), batch.frame
        latents, noise = batch.latents[chosen].unsqueeze(1), batch.noise[chosen].unsqueeze(1)
        with unplugged(self.unet):
            predicted = self._predict(add_noise(latents, noise, alpha_cumprod), batch)
            wanted = target(latents, noise, alpha_cumprod, self.prediction)
            return _backward(mse(predicted, wanted, torch.ones_like(alpha_cumprod)), scale)

    def _predict(self, noisy: Tensor, batch: Batch) -> Tensor:
        """Run the UNet over [B, F, 4, h, w]. Text [B, L, D] serves all frames of its clip (`share_text`)."""
        frames = noisy.shape[1]
        device = noisy.device.type
        unet_kwargs = {}
        if batch.pooled is not None and batch.sizes is not None:
            unet_kwargs = added_cond_kwargs(batch.pooled, batch.sizes, frames)
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            output = self.unet(
                noisy.flatten(0, 1).to(self.unet.dtype),
                batch.timesteps.repeat_interleave(frames),
                encoder_hidden_states=batch.text.to(self.unet.dtype),
                return_dict=False,
                **unet_kwargs,
            )[0]
        return output.view_as(noisy)


@contextmanager
def unplugged(unet: Any) -> Iterator[None]:
    """Take the motion module off for the calls inside; without one, change nothing."""
    attached = plugged(unet)
    if attached is None:
        yield
        return
    motion = unplug(unet)
    assert motion is not None
    try:
        yield
    finally:
        plug(unet, motion)


def _backward(loss: Tensor, scale: float) -> Tensor:
    (loss * scale).backward()
    return loss.detach()
