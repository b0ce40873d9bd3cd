"""The denoising loop: from noise to the latents of a clip."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.diffusion.shared_cfg import same_halves
from animdiff_cli.motion import plugged

OnStep = Callable[[int, int], None]  # (steps done, steps in all)


@dataclass(frozen=True, slots=True)
class Added:
    """What SDXL's UNet is told beside the texts: a summary of each and the sizes.

    B is one row for each clip, or for each half of guidance, the unconditional one first.
    """

    pooled: Tensor  # [B, P]
    sizes: Tensor  # [B, 6]: original height and width, corner, target height and width, in pixels

    def for_frames(self, num_frames: int) -> dict[str, Tensor]:
        """Repeat the rows for every frame, in the names of diffusers."""
        rows = {"text_embeds": self.pooled, "time_ids": self.sizes}
        return {name: row.repeat_interleave(num_frames, dim=0) for name, row in rows.items()}


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the UNet is told. Texts are embeddings [1, L, D]; `negative` is None when guidance is off."""

    positive: Tensor
    negative: Tensor | None = None
    guidance_scale: float = 1.0
    added: Added | None = None  # SDXL's

    def stacked(self) -> Tensor:
        """Return the texts of one UNet call, unconditional half first: [1 or 2, L, D]."""
        return self.positive if self.negative is None else torch.cat([self.negative, self.positive])


@torch.no_grad()
def denoise(
    unet: Any,
    scheduler: Any,
    noise: Tensor,
    conditioning: Conditioning,
    *,
    steps: int,
    generator: torch.Generator,
    on_step: OnStep = lambda done, total: None,
) -> Tensor:
    """Walk `noise` [1, 4, F, h, w] down the schedule; returns latents like it, on the UNet's device.

    Latents keep the noise's float32 between steps whatever the UNet computes in. Guidance (Ho & Salimans 2022) runs
    both halves in one batch. With a motion module plugged in, the F frames move together; without, they are F stills.
    """
    scheduler.set_timesteps(steps, device=unet.device)
    latents = noise.to(unet.device) * scheduler.init_noise_sigma
    num_frames, texts = latents.shape[2], conditioning.stacked()
    attached = plugged(unet)
    frames = attached.motion.frames(num_frames) if attached else nullcontext()
    extra = _step_arguments(scheduler, generator)
    total = len(scheduler.timesteps)
    told: dict[str, Any] = {}
    if conditioning.added:
        told["added_cond_kwargs"] = conditioning.added.for_frames(num_frames)
    told["encoder_hidden_states"] = texts if share_text(unet) else texts.repeat_interleave(num_frames, dim=0)
    halves = nullcontext() if conditioning.negative is None else same_halves(unet)
    with frames, halves:
        for done, timestep in enumerate(scheduler.timesteps, start=1):
            prediction = _predict(unet, scheduler.scale_model_input(latents, timestep), timestep, told, conditioning)
            latents = scheduler.step(prediction, timestep, latents, return_dict=False, **extra)[0]
            on_step(done, total)
    return latents


def _predict(
    unet: Any, latents: Tensor, timestep: Tensor, told: Mapping[str, Any], conditioning: Conditioning
) -> Tensor:
    """Predict with guidance, [1, 4, F, h, w] in and out."""
    images = latents[0].transpose(0, 1)
    batch = images if conditioning.negative is None else torch.cat([images, images])
    batch = batch.to(unet.dtype)
    output = unet(batch, timestep, **told, return_dict=False)[0].to(latents.dtype)
    if conditioning.negative is not None:
        without, with_text = output.chunk(2)
        output = without + conditioning.guidance_scale * (with_text - without)
    return output.transpose(0, 1).unsqueeze(0)


def _step_arguments(scheduler: Any, generator: torch.Generator) -> dict[str, object]:
    accepted = inspect.signature(scheduler.step).parameters
    return {"generator": generator} if "generator" in accepted else {}
