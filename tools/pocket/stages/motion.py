"""Stage 4, the motion module: plugged into the frozen image model, on whole clips (paper, section 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.motion import MotionModule
from animdiff_cli.training.objective import add_noise
from tools.pocket.latents import Clips
from tools.pocket.stages.image import CAPTION_DROPOUT
from tools.pocket.stages.noise import draw_noise

NOISY = 400
"""From this timestep on a clip's motion is still open: the pocket model, started from true clips noised less than this,
keeps their laws."""


@dataclass
class MotionStage:
    """Predict the noise on clips, one timestep per clip. `alphas_cumprod`: [1000], the paper's linear schedule.

    `unet` is frozen, has `motion` plugged in and shares each clip's text among its frames; `text_encoder` is frozen. A
    fraction `noisy_share` of the timesteps is drawn from `NOISY` on, the rest below. Each clip is weighted by its
    noise-to-signal ratio, at most `max_weight`: motion is decided at high noise, where errors in it are small errors in
    the noise.
    """

    unet: UNet2DConditionModel
    motion: MotionModule
    text_encoder: CLIPTextModel
    clips: Clips
    alphas_cumprod: Tensor
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.999
    noisy_share: float | None = None  # None: all timesteps are equally likely, as in the paper
    max_weight: float | None = None  # None: no weights, as in the paper
    name: str = "motion"

    def __post_init__(self) -> None:
        if not share_text(self.unet):
            raise ValueError("the UNet's cross-attentions do not share text")

    def modules(self) -> Mapping[str, nn.Module]:
        return {"motion": self.motion}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw noisy clips [B*F, 4, h, w], their timesteps [B*F], texts [B, 77, D], noise and weights [B]."""
        device, generator = self.alphas_cumprod.device, self.generator
        clip = torch.randint(len(self.clips.latents), (self.batch,), generator=generator, device=device)
        timestep = self._draw_timesteps()
        latents = self.clips.latents[clip].float()
        # one noise offset per frame, like the mean of the initial noise at inference
        noise = draw_noise(latents, generator)
        alpha_cumprod = self.alphas_cumprod[timestep]
        noisy = add_noise(latents, noise, alpha_cumprod).flatten(0, 1).to(self.unet.dtype)
        with torch.no_grad():
            text = self.text_encoder(self.clips.draw_words(clip, CAPTION_DROPOUT, generator))[0]
        weight = torch.ones_like(alpha_cumprod)
        if self.max_weight is not None:
            weight = ((1 - alpha_cumprod) / alpha_cumprod).clamp(max=self.max_weight)
        return noisy, timestep.repeat_interleave(latents.shape[1]), text, noise, weight

    def loss(self, noisy: Tensor, timestep: Tensor, text: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
        with self.motion.frames(noise.shape[1]):
            predicted = self.unet(noisy, timestep, encoder_hidden_states=text).sample
        errors = (predicted.float().view_as(noise) - noise).square().flatten(1).mean(dim=1)
        return (errors * weight).mean()

    def _draw_timesteps(self) -> Tensor:
        device, generator, last = self.alphas_cumprod.device, self.generator, len(self.alphas_cumprod)
        place = torch.rand(self.batch, generator=generator, device=device)
        if self.noisy_share is None:
            return (place * last).long()
        noisy = NOISY + place / self.noisy_share * (last - NOISY)
        clear = (place - self.noisy_share) / (1 - self.noisy_share) * NOISY
        return torch.where(place < self.noisy_share, noisy, clear).long().clamp(0, last - 1)
