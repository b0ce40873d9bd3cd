"""A SparseCtrl with its motion module: it learns to spread pictures at some frames over the whole clip."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.motion import MotionModule
from animdiff_cli.training.objective import add_noise
from tools.pocket.latents import Clips
from tools.pocket.stages.control import CAPTION_DROPOUT, MAX_WEIGHT, draw_timesteps, weighted_mse
from tools.pocket.stages.gain import ConditionStage
from tools.pocket.stages.motion import NOISY
from tools.pocket.stages.noise import draw_noise

#: share of clips with a picture at frame 0, and of those with a second one anywhere
FIRST_SHARE, SECOND_SHARE = 0.75, 0.25


@dataclass
class SparseStage(ConditionStage):
    """Predict the noise on clips with pictures of one or two of their frames, one timestep per clip.

    `control` and its motion module `spread` are trained; `unet` with `motion` plugged in is frozen. All share each
    clip's text among its frames. `alphas_cumprod`: [1000], the schedule of the motion module.
    """

    control: ControlNetModel
    spread: MotionModule
    unet: UNet2DConditionModel
    motion: MotionModule
    text_encoder: CLIPTextModel
    clips: Clips
    alphas_cumprod: Tensor
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.99
    warmup_steps: int = 50
    faster: Mapping[str, float] = field(default_factory=lambda: {"spread": 2.0})
    name: str = "clips"
    least_noise: int = NOISY  # timestep from which most are drawn
    max_weight: float = MAX_WEIGHT

    def __post_init__(self) -> None:
        if not share_text(self.unet) or not share_text(self.control):
            raise ValueError("the cross-attentions do not share text")

    def modules(self) -> Mapping[str, nn.Module]:
        return {"control": self.control, "spread": self.spread}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw noisy clips [B*F, 4, h, w], timesteps [B*F], token ids [B, 77], pictures [B*F, 5, h, w] and noise."""
        device, generator = self.alphas_cumprod.device, self.generator
        clip = torch.randint(len(self.clips.latents), (self.batch,), generator=generator, device=device)
        timestep = draw_timesteps(self.batch, len(self.alphas_cumprod), generator, self.least_noise)
        latents = self.clips.latents[clip].float()
        noise = draw_noise(latents, generator)
        noisy = add_noise(latents, noise, self.alphas_cumprod[timestep]).flatten(0, 1)
        words = self.clips.draw_words(clip, CAPTION_DROPOUT, generator)
        mask = self._draw_mask(latents.shape[1])[:, :, None, None, None].expand(-1, -1, 1, *latents.shape[-2:])
        shown = torch.cat([latents * mask, mask], dim=2).flatten(0, 1)
        dtype = self.unet.dtype
        return noisy.to(dtype), timestep.repeat_interleave(latents.shape[1]), words, shown.to(dtype), noise

    def loss(self, noisy: Tensor, timestep: Tensor, words: Tensor, shown: Tensor, noise: Tensor) -> Tensor:
        num_frames = noise.shape[1]
        with torch.no_grad():
            text = self.text_encoder(words)[0]
        with self.spread.frames(num_frames):
            down, mid = self.control(torch.zeros_like(noisy), timestep, text, controlnet_cond=shown, return_dict=False)
        with self.motion.frames(num_frames):
            predicted = self.unet(
                noisy,
                timestep,
                encoder_hidden_states=text,
                down_block_additional_residuals=down,
                mid_block_additional_residual=mid,
            ).sample
        return weighted_mse(predicted, noise.flatten(0, 1), self.alphas_cumprod[timestep], self.max_weight)

    def loss_without(self, noisy: Tensor, timestep: Tensor, words: Tensor, shown: Tensor, noise: Tensor) -> Tensor:
        with self.motion.frames(noise.shape[1]):
            predicted = self.unet(noisy, timestep, encoder_hidden_states=self.text_encoder(words)[0]).sample
        return weighted_mse(predicted, noise.flatten(0, 1), self.alphas_cumprod[timestep], self.max_weight)

    def _draw_mask(self, num_frames: int) -> Tensor:
        """Draw which frames have a picture: 1 or 0, float32 [B, F]."""
        device, generator = self.alphas_cumprod.device, self.generator
        chances = torch.rand(3, self.batch, generator=generator, device=device)
        anywhere = torch.randint(num_frames, (2, self.batch), generator=generator, device=device)
        first = torch.where(chances[0] < FIRST_SHARE, 0, anywhere[0])
        second = torch.where(chances[1] < SECOND_SHARE, anywhere[1], first)
        mask = torch.zeros(self.batch, num_frames, device=device)
        return mask.scatter(1, torch.stack([first, second], dim=1), 1.0)
