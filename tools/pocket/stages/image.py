"""Stage 3, the image model: UNet and text encoder together, on single frames."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animdiff_cli.training.objective import add_noise
from tools.pocket.latents import Clips
from tools.pocket.stages.noise import draw_noise

CAPTION_DROPOUT = 0.1  # fraction of samples with an empty prompt, for classifier-free guidance


@dataclass
class ImageStage:
    """Predict the noise on single frames' latents. `alphas_cumprod`: [1000], the image model's own schedule.

    A frozen `text_encoder` is not trained.
    """

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    clips: Clips
    alphas_cumprod: Tensor
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.9995
    name: str = "image"

    def modules(self) -> Mapping[str, nn.Module]:
        parts = {"unet": self.unet, "text_encoder": self.text_encoder}
        return {name: part for name, part in parts.items() if any(one.requires_grad for one in part.parameters())}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw noisy frames [B, 4, h, w], their timesteps [B], token ids [B, 77] and noise."""
        device, generator = self.alphas_cumprod.device, self.generator
        clip = torch.randint(len(self.clips.latents), (self.batch,), generator=generator, device=device)
        frame = torch.randint(self.clips.latents.shape[1], (self.batch,), generator=generator, device=device)
        timestep = torch.randint(len(self.alphas_cumprod), (self.batch,), generator=generator, device=device)
        latents = self.clips.latents[clip, frame].float()
        noise = draw_noise(latents, generator)
        noisy = add_noise(latents, noise, self.alphas_cumprod[timestep])
        words = self.clips.draw_words(clip, CAPTION_DROPOUT, generator)
        return noisy.to(self.unet.dtype), timestep, words, noise

    def loss(self, noisy: Tensor, timestep: Tensor, words: Tensor, noise: Tensor) -> Tensor:
        text = self.text_encoder(words)[0]
        return F.mse_loss(self.unet(noisy, timestep, encoder_hidden_states=text).sample.float(), noise)
