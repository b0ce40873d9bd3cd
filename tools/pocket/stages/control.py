"""A ControlNet on outlines: it learns where the frozen UNet should draw."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animdiff_cli.training.objective import add_noise
from tools.pocket.stages.noise import draw_noise

#: share of samples without a caption: the outlines must be enough to draw by
CAPTION_DROPOUT = 0.3


@dataclass(frozen=True, slots=True)
class Outlined:
    """Frames of the world with their outlines."""

    latents: Tensor  # float32 [N, 4, h, w], scaled as for the UNet
    outlines: Tensor  # uint8 [N, 8h, 8w], white edges on black
    tokens: Tensor  # int64 [N, 77]
    no_words: Tensor  # int64 [77], the empty prompt


@dataclass
class ControlStage:
    """Predict the noise on single frames' latents with the outlines of the frames. Only `control` is trained."""

    control: ControlNetModel
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    data: Outlined
    alphas_cumprod: Tensor  # [1000]
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.998
    name: str = "control"

    def modules(self) -> Mapping[str, nn.Module]:
        return {"control": self.control}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw noisy frames [B, 4, h, w], timesteps [B], token ids [B, 77], outlines [B, 3, 8h, 8w] and noise."""
        device, generator = self.alphas_cumprod.device, self.generator
        chosen = torch.randint(len(self.data.latents), (self.batch,), generator=generator, device=device)
        timestep = torch.randint(len(self.alphas_cumprod), (self.batch,), generator=generator, device=device)
        latents = self.data.latents[chosen]
        noise = draw_noise(latents, generator)
        noisy = add_noise(latents, noise, self.alphas_cumprod[timestep])
        dropped = torch.rand(self.batch, generator=generator, device=device) < CAPTION_DROPOUT
        words = torch.where(dropped[:, None], self.data.no_words, self.data.tokens[chosen])
        outlines = self.data.outlines[chosen, None].expand(-1, 3, -1, -1)
        dtype = self.unet.dtype
        return noisy.to(dtype), timestep, words, outlines.to(dtype) / 255, noise

    def loss(self, noisy: Tensor, timestep: Tensor, words: Tensor, outlines: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            text = self.text_encoder(words)[0]
        down, mid = self.control(noisy, timestep, text, controlnet_cond=outlines, return_dict=False)
        predicted = self.unet(
            noisy,
            timestep,
            encoder_hidden_states=text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        return F.mse_loss(predicted.float(), noise)
