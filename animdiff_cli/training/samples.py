"""Sample clips of the weights in training, rendered by the same pipeline as `generate`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import PromptSyntax
from animdiff_cli.core.formats import format_of
from animdiff_cli.diffusion.decode import Vae, decode
from animdiff_cli.diffusion.pipeline import Pipeline, sample_latents
from animdiff_cli.diffusion.text_encoders import PromptEmbeds
from animdiff_cli.motion.unet import UNet
from animdiff_cli.outputs import write_clip

Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Renders prompts with the UNet in training.

    `text` returns the embeddings of a prompt, None for the unconditional one: the text encoders have left memory. The
    VAE waits on the CPU between samples.
    """

    unet: UNet
    vae: Vae
    text: Callable[[str | None], PromptEmbeds]
    autocast: torch.dtype | None

    def frames(self, config: GenerateConfig, num_frames: int) -> Frames:
        """Render one clip: uint8 [F, H, W, 3]. Beta schedule and prediction type must be resolved."""
        device = self.unet.device
        pipe = Pipeline(self.unet, self.vae, self._encode)
        with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
            latents = sample_latents(pipe, config.model_copy(update={"num_frames": num_frames}))
        self.vae.to(device)
        try:
            return decode(self.vae, latents.to(torch.float32))
        finally:
            self.vae.to("cpu")

    def write(self, config: GenerateConfig, num_frames: int, path: Path, about: dict[str, Any]) -> Path:
        """Render one clip and write it to `path` (see `sample_path`) with its settings and `about` as its recipe."""
        recipe = {"config": config.model_dump(mode="json"), "training": about}
        frames = self.frames(config, num_frames)
        return write_clip(frames, config.fps, path, format_of(path), recipe, overwrite=True)

    def _encode(self, prompt: str | None, *, clip_skip: int, syntax: PromptSyntax) -> PromptEmbeds:
        """Look the embeddings up; training encodes every prompt as plain text with a clip skip of 0."""
        text = self.text(prompt)
        return PromptEmbeds(self._on_device(text.embeds), None if text.pooled is None else self._on_device(text.pooled))

    def _on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.unet.device, self.unet.dtype)


def sample_path(folder: Path, step: int, number: int, num_frames: int) -> Path:
    """Name one sample: a clip as GIF, a single frame as PNG."""
    return folder / f"step-{step:06d}-{number}{'.gif' if num_frames > 1 else '.png'}"
