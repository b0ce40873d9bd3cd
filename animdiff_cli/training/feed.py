"""From sample numbers to batches of tensors on the device."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.training.clips import Clips
from animdiff_cli.training.draws import Draw, Draws
from animdiff_cli.training.latents import LatentCache, Moments, TextCache
from animdiff_cli.training.objective import alpha_bars, noise_hiding


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips of one size. `latents` and `noise` are float32 [B, F, 4, h, w], `text` [B, 77, D]."""

    latents: Tensor
    noise: Tensor
    text: Tensor
    timesteps: Tensor  # [B]
    frame: Tensor  # [B] the frame of each clip that stands alone
    mask_spatial: bool

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, slots=True)
class Feed:
    """Reads cached clips and draws their noise. Noise comes from CPU generators: the same on every device."""

    clips: Clips
    draws: Draws
    latents: LatentCache
    texts: TextCache
    scaling_factor: float
    device: torch.device
    noise_offset: float = 0.0
    beta_schedule: str = "linear"

    def batches(self, positions: Iterable[int]) -> list[Batch]:
        """Return the samples at `positions`, those of one size in one batch."""
        groups: dict[tuple[object, ...], list[Draw]] = {}
        for draw in map(self.draws.at, positions):
            # clips are masked alike within a batch, or the LoRA would have to be switched per clip
            groups.setdefault((self.clips.items[draw.index].bucket, draw.mask_spatial), []).append(draw)
        return [self._batch(draws) for draws in groups.values()]

    def _batch(self, draws: list[Draw]) -> Batch:
        samples = [self._sample(draw) for draw in draws]
        latents, noise = (torch.stack(column) for column in zip(*samples, strict=True))
        captions = ["" if draw.drop_caption else self.clips.items[draw.index].caption for draw in draws]
        frames = latents.shape[1]
        return Batch(
            latents=self._there(latents),
            noise=self._there(noise),
            text=self._there(torch.stack([self.texts.read(caption) for caption in captions])),
            timesteps=self._there(torch.tensor([draw.timestep for draw in draws])),
            frame=self._there(torch.tensor([int(draw.frame * frames) for draw in draws])),
            mask_spatial=draws[0].mask_spatial,
        )

    def _sample(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Draw latents from the posterior, and noise like them: both [F, 4, h, w]."""
        moments: Moments = self.latents.read(self.clips, draw.index, draw.variant)
        generator = torch.Generator().manual_seed(draw.noise_seed)
        mean, std = moments.mean.float(), moments.std.float()
        latents = (mean + std * torch.randn(mean.shape, generator=generator)) * self.scaling_factor
        noise = torch.randn(mean.shape, generator=generator)
        if draw.from_noise:
            alpha_bar = _alpha_bars(self.beta_schedule)[draw.timestep]
            return latents, noise_hiding(latents, noise, alpha_bar)
        if self.noise_offset > 0:
            noise = noise + self.noise_offset * torch.randn((*mean.shape[:2], 1, 1), generator=generator)
        return latents, noise

    def _there(self, tensor: Tensor) -> Any:
        return tensor.to(self.device, non_blocking=True)


@lru_cache(maxsize=2)
def _alpha_bars(beta_schedule: str) -> Tensor:
    return alpha_bars(beta_schedule)
