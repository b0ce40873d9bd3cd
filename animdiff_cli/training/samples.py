"""Clips of the weights as they are: the same loop, samplers and decoder as a render, on what is being trained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.formats import format_of
from animdiff_cli.diffusion import sdxl
from animdiff_cli.diffusion.decode import decode
from animdiff_cli.diffusion.denoise import Conditioning, denoise
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.schedulers import BETA_END, make_scheduler
from animdiff_cli.diffusion.text import Text
from animdiff_cli.motion import plugged
from animdiff_cli.outputs import write_clip

Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Renders prompts with the UNet in training. `text` gives texts, None's for none: the encoders are gone by then.

    The VAE waits on the CPU between samples.
    """

    unet: Any
    vae: Any
    text: Callable[[str | None], Text]
    prediction_type: str
    autocast: torch.dtype | None

    @torch.no_grad()
    def frames(self, config: GenerateConfig, num_frames: int) -> Frames:
        """Render one clip of `config`, whose noise schedule is settled: uint8 [F, H, W, 3]."""
        generator = seeded_generator(config.seed)
        device = self.unet.device
        with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
            latents = denoise(
                self.unet,
                make_scheduler(
                    config.scheduler,
                    config.beta_schedule,
                    self.prediction_type,
                    beta_end=config.beta_end or BETA_END,
                    timestep_spacing=config.timestep_spacing,
                ),
                initial_noise(generator, num_frames, config.height // 8, config.width // 8),
                self._conditioning(config),
                steps=config.steps,
                generator=generator,
            )
        self.vae.to(device)
        try:
            return decode(self.vae, latents.to(torch.float32))
        finally:
            self.vae.to("cpu")

    def write(self, config: GenerateConfig, num_frames: int, path: Path, about: dict[str, Any]) -> Path:
        """Render and write one clip as `sample_path` named it; `about` goes into the file beside its settings."""
        recipe = {"config": config.model_dump(mode="json"), "training": about}
        frames = self.frames(config, num_frames)
        return write_clip(frames, config.fps, path, format_of(path), recipe, overwrite=True)

    def _conditioning(self, config: GenerateConfig) -> Conditioning:
        positive = self._text(config.prompt)
        negative = self._text(config.negative_prompt or None) if config.guidance_scale > 1 else None
        if positive.pooled is None:
            return Conditioning(positive.tokens, negative and negative.tokens, config.guidance_scale)
        attached = plugged(self.unet)
        sizes = sdxl.sizes_of(config.height, config.width, attached.motion if attached else None)
        return sdxl.tell(positive, negative, config.guidance_scale, sizes)

    def _text(self, prompt: str | None) -> Text:
        text = self.text(prompt)
        pooled = None if text.pooled is None else self._there(text.pooled)
        return Text(self._there(text.tokens), pooled)

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.unet.device, self.unet.dtype)


def sample_path(folder: Path, step: int, number: int, num_frames: int) -> Path:
    """Name one sample: a clip as GIF, a single frame as PNG."""
    return folder / f"step-{step:06d}-{number}{'.gif' if num_frames > 1 else '.png'}"
