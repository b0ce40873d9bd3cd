"""Stage 4, the motion module: plugged into the frozen image model, on whole clips (paper, section 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animdiff_cli.motion import MotionModule
from tools.pocket.latents import Clips
from tools.pocket.stages.image import CAPTION_DROPOUT
from tools.pocket.stages.noise import add_noise, draw_noise


@dataclass
class MotionStage:
    """Predict the noise on clips, one timestep per clip. `alpha_bars`: [1000], the paper's linear schedule.

    `unet` is frozen and has `motion` plugged in; `text_encoder` is frozen. Timesteps are drawn from `first_timestep`
    on. Each clip counts by its noise-to-signal ratio, at most `max_weight` times: where a clip is mostly noise its
    motion is decided, yet errors in it are small errors in the noise.
    """

    unet: UNet2DConditionModel
    motion: MotionModule
    text_encoder: CLIPTextModel
    clips: Clips
    alpha_bars: Tensor
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.999
    first_timestep: int = 0
    max_weight: float | None = None  # None weighs nothing, as the paper does
    name: str = "motion"

    def modules(self) -> Mapping[str, nn.Module]:
        return {"motion": self.motion}

    def loss(self) -> Tensor:
        device, generator = self.alpha_bars.device, self.generator
        clip = torch.randint(len(self.clips.latents), (self.batch,), generator=generator, device=device)
        last = len(self.alpha_bars)
        timestep = torch.randint(self.first_timestep, last, (self.batch,), generator=generator, device=device)
        latents = self.clips.latents[clip].float()
        num_frames = latents.shape[1]
        # the noise offset differs from frame to frame: so do the means of the noise inference starts from
        noise = draw_noise(latents, generator)
        noisy = add_noise(latents, noise, self.alpha_bars[timestep]).flatten(0, 1)
        with torch.no_grad():
            text = self.text_encoder(self.clips.draw_words(clip, CAPTION_DROPOUT, generator))[0]
        with self.motion.frames(num_frames):
            predicted = self.unet(
                noisy.to(self.unet.dtype),
                timestep.repeat_interleave(num_frames),
                encoder_hidden_states=text.repeat_interleave(num_frames, dim=0),
            ).sample
        if self.max_weight is None:
            return F.mse_loss(predicted.float(), noise.flatten(0, 1))
        errors = (predicted.float().view_as(noise) - noise).square().flatten(1).mean(dim=1)
        alpha_bar = self.alpha_bars[timestep]
        return (errors * ((1 - alpha_bar) / alpha_bar).clamp(max=self.max_weight)).mean()
