"""A ControlNet on outlines or a SparseCtrl on pictures: it learns from single frames what the UNet should draw."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animdiff_cli.training.objective import add_noise
from tools.pocket.stages.gain import ConditionStage
from tools.pocket.stages.motion import NOISY
from tools.pocket.stages.noise import draw_noise

#: share of samples without a caption: the outlines must be enough to draw by
CAPTION_DROPOUT = 0.5
#: share of timesteps from `NOISY` on: at less noise the noisy frame itself shows what the control shows
NOISY_SHARE = 0.8
#: highest noise-to-signal ratio by which a frame is weighted
MAX_WEIGHT = 6.0
#: parts that start at zero learn faster than the copy of the encoder
FASTER = {"controlnet_down_blocks": 3.0, "controlnet_mid_block": 3.0, "controlnet_cond_embedding": 2.0}


@dataclass(frozen=True, slots=True)
class Outlined:
    """Frames of the world with their outlines."""

    latents: Tensor  # float32 [N, 4, h, w], scaled as for the UNet
    outlines: Tensor  # uint8 [N, 8h, 8w], white edges on black
    tokens: Tensor  # int64 [N, 77]
    no_words: Tensor  # int64 [77], the empty prompt


@dataclass
class ControlStage(ConditionStage):
    """Predict the noise on single frames' latents with what the control shows of them. Only `control` is trained.

    `shows` outlines, or the frame's own latents with a mask of ones: then the network never sees the noisy frame.
    """

    control: ControlNetModel
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    data: Outlined
    alphas_cumprod: Tensor  # [1000]
    generator: torch.Generator
    batch: int
    peak_lr: float
    shows: Literal["outlines", "latents"] = "outlines"
    ema_decay: float = 0.99
    warmup_steps: int = 50
    faster: Mapping[str, float] = field(default_factory=lambda: FASTER)
    name: str = "control"

    def modules(self) -> Mapping[str, nn.Module]:
        return {"control": self.control}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw noisy frames [B, 4, h, w], timesteps [B], token ids [B, 77], conditions [B, C, H, W] and noise."""
        device, generator = self.alphas_cumprod.device, self.generator
        chosen = torch.randint(len(self.data.latents), (self.batch,), generator=generator, device=device)
        timestep = draw_timesteps(self.batch, len(self.alphas_cumprod), generator)
        latents = self.data.latents[chosen]
        noise = draw_noise(latents, generator)
        noisy = add_noise(latents, noise, self.alphas_cumprod[timestep])
        dropped = torch.rand(self.batch, generator=generator, device=device) < CAPTION_DROPOUT
        words = torch.where(dropped[:, None], self.data.no_words, self.data.tokens[chosen])
        dtype = self.unet.dtype
        if self.shows == "outlines":
            shown = self.data.outlines[chosen, None].expand(-1, 3, -1, -1).to(dtype) / 255
        else:
            shown = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1).to(dtype)
        return noisy.to(dtype), timestep, words, shown, noise

    def loss(self, noisy: Tensor, timestep: Tensor, words: Tensor, shown: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            text = self.text_encoder(words)[0]
        seen = noisy if self.shows == "outlines" else torch.zeros_like(noisy)
        down, mid = self.control(seen, timestep, text, controlnet_cond=shown, return_dict=False)
        predicted = self.unet(
            noisy,
            timestep,
            encoder_hidden_states=text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        return weighted_mse(predicted, noise, self.alphas_cumprod[timestep])

    def loss_without(self, noisy: Tensor, timestep: Tensor, words: Tensor, shown: Tensor, noise: Tensor) -> Tensor:
        predicted = self.unet(noisy, timestep, encoder_hidden_states=self.text_encoder(words)[0]).sample
        return weighted_mse(predicted, noise, self.alphas_cumprod[timestep])


def draw_timesteps(count: int, last: int, generator: torch.Generator, least: int = NOISY) -> Tensor:
    """Draw timesteps [count] below `last`, mostly from `least` on."""
    place = torch.rand(count, generator=generator, device=generator.device)
    noisy = least + place / NOISY_SHARE * (last - least)
    clear = (place - NOISY_SHARE) / (1 - NOISY_SHARE) * least
    return torch.where(place < NOISY_SHARE, noisy, clear).long().clamp(0, last - 1)


def weighted_mse(predicted: Tensor, noise: Tensor, alpha_cumprod: Tensor, max_weight: float = MAX_WEIGHT) -> Tensor:
    """Return the mean squared error, each image weighted by its noise-to-signal ratio up to `max_weight`."""
    weight = ((1 - alpha_cumprod) / alpha_cumprod).clamp(max=max_weight)
    return ((predicted.float() - noise).square().flatten(1).mean(dim=1) * weight).mean()
