"""From sample numbers to batches of tensors on the device."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.diffusion.sdxl import Sizes, sizes_of
from animdiff_cli.training.data.clips import Clips
from animdiff_cli.training.data.latents import LatentCache, Moments
from animdiff_cli.training.data.texts import TextCache
from animdiff_cli.training.objective import noise_hiding
from animdiff_cli.training.sample_schedule import SampleSchedule, ScheduledSample


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips of one size. `latents` and `noise` are float32 [B, F, 4, h, w], `text` [B, 77, D].

    SDXL is told more, one row for each clip: `pooled` [B, P] and `sizes` [B, 6], in pixels.
    """

    latents: Tensor
    noise: Tensor
    text: Tensor
    timesteps: Tensor  # [B]
    frame: Tensor  # [B] the frame of each clip that stands alone
    mask_spatial: bool
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """Reads cached clips and draws their noise. Noise comes from CPU generators: the same on every device."""

    clips: Clips
    draws: SampleSchedule
    latents: LatentCache
    texts: TextCache
    scaling_factor: float
    device: torch.device
    alphas_cumprod: Tensor  # [1000] of the schedule that is trained on
    noise_offset: float = 0.0
    #: what SDXL is told of clips by their height and width
    sizes: Callable[[int, int], Sizes] = sizes_of

    def batches(self, positions: Iterable[int]) -> list[Batch]:
        """Return the samples at `positions`, those of one size in one batch."""
        groups: dict[tuple[object, ...], list[ScheduledSample]] = {}
        for draw in map(self.draws.at, positions):
            # clips are masked alike within a batch, or the LoRA would have to be switched per clip
            groups.setdefault((self.clips.items[draw.index].bucket, draw.mask_spatial), []).append(draw)
        return [self._batch(draws) for draws in groups.values()]

    def _batch(self, draws: list[ScheduledSample]) -> Batch:
        samples = [self._sample(draw) for draw in draws]
        latents, noise = (torch.stack(column) for column in zip(*samples, strict=True))
        items = [self.clips.items[draw.index] for draw in draws]
        texts = [
            self.texts.read(None if draw.drop_caption else item.caption)
            for draw, item in zip(draws, items, strict=True)
        ]
        pooled = [text.pooled for text in texts if text.pooled is not None]
        sizes = [self.sizes(*item.bucket) for item in items]
        frames = latents.shape[1]
        return Batch(
            latents=self._there(latents),
            noise=self._there(noise),
            text=self._there(torch.cat([text.tokens for text in texts])),
            timesteps=self._there(torch.tensor([draw.timestep for draw in draws])),
            frame=self._there(torch.tensor([int(draw.frame * frames) for draw in draws])),
            mask_spatial=draws[0].mask_spatial,
            pooled=self._there(torch.cat(pooled)) if pooled else None,
            sizes=self._there(torch.tensor(sizes, dtype=torch.float32)) if pooled else None,
        )

    def _sample(self, draw: ScheduledSample) -> tuple[Tensor, Tensor]:
        """Draw latents from the posterior, and noise like them: both [F, 4, h, w]."""
        moments: Moments = self.latents.read(self.clips, draw.index, draw.variant)
        generator = torch.Generator().manual_seed(draw.noise_seed)
        mean, std = moments.mean.float(), moments.std.float()
        latents = (mean + std * torch.randn(mean.shape, generator=generator)) * self.scaling_factor
        noise = torch.randn(mean.shape, generator=generator)
        if draw.from_noise:
            return latents, noise_hiding(latents, noise, self.alphas_cumprod[draw.timestep])
        if self.noise_offset > 0:
            noise = noise + self.noise_offset * torch.randn((*mean.shape[:2], 1, 1), generator=generator)
        return latents, noise

    def _there(self, tensor: Tensor) -> Any:
        return tensor.to(self.device, non_blocking=True)
