"""Load batches: sample positions in, tensors on the device out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from animdiff_cli.diffusion.conditions.sdxl import SizeIds, size_ids
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.data.latents import LatentCache
from animdiff_cli.training.data.sample_schedule import SampleSchedule, ScheduledSample
from animdiff_cli.training.data.texts import TextCache
from animdiff_cli.training.objective import noise_between


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips of one size. `latents` and `noise` are float32 `[B, F, 4, h, w]`, `text` is `[B, 77, D]`.

    SDXL adds `pooled` `[B, P]` and `sizes` `[B, 6]` in pixels.
    """

    latents: Tensor
    noise: Tensor
    text: Tensor
    timesteps: Tensor  # [B]
    frame: Tensor  # [B] frame of each clip that is used alone, by image losses and debiasing
    mask_spatial: bool
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """Read cached clips and sample their noise. Noise comes from CPU generators: equal on every device."""

    clips: ClipDataset
    schedule: SampleSchedule
    latents: LatentCache
    texts: TextCache
    scaling_factor: float
    device: torch.device
    alphas_cumprod: Tensor  # [1000] of the noise schedule of training
    noise_offset: float = 0.0
    #: SDXL's size conditioning by height and width of a clip
    sizes: Callable[[int, int], SizeIds] = size_ids

    def batches(self, positions: Iterable[int]) -> list[Batch]:
        """Return the samples at `positions`, grouped into one batch per clip size."""
        groups: dict[tuple[object, ...], list[ScheduledSample]] = {}
        for sample in map(self.schedule.at, positions):
            # `mask_spatial` is equal within a batch, because the spatial LoRA is switched for a whole batch
            groups.setdefault((self.clips.items[sample.index].bucket, sample.mask_spatial), []).append(sample)
        return [self._batch(samples) for samples in groups.values()]

    def _batch(self, samples: list[ScheduledSample]) -> Batch:
        latents, noise = (torch.stack(column) for column in zip(*map(self._latents_and_noise, samples), strict=True))
        items = [self.clips.items[sample.index] for sample in samples]
        texts = [
            self.texts.read(None if sample.drop_caption else item.caption)
            for sample, item in zip(samples, items, strict=True)
        ]
        pooled = [text.pooled for text in texts if text.pooled is not None]
        sizes = [self.sizes(*item.bucket) for item in items]
        frames = latents.shape[1]
        return Batch(
            latents=self._to_device(latents),
            noise=self._to_device(noise),
            text=self._to_device(torch.cat([text.embeds for text in texts])),
            timesteps=self._to_device(torch.tensor([sample.timestep for sample in samples])),
            frame=self._to_device(torch.tensor([int(sample.frame * frames) for sample in samples])),
            mask_spatial=samples[0].mask_spatial,
            pooled=self._to_device(torch.cat(pooled)) if pooled else None,
            sizes=self._to_device(torch.tensor(sizes, dtype=torch.float32)) if pooled else None,
        )

    def _latents_and_noise(self, sample: ScheduledSample) -> tuple[Tensor, Tensor]:
        """Sample latents from the posterior, and noise of the same shape: both `[F, 4, h, w]`."""
        moments = self.latents.read(self.clips, sample.index, sample.variant)
        generator = torch.Generator().manual_seed(sample.noise_seed)
        mean, std = moments.mean.float(), moments.std.float()
        latents = (mean + std * torch.randn(mean.shape, generator=generator)) * self.scaling_factor
        noise = torch.randn(mean.shape, generator=generator)
        if sample.from_noise:
            return latents, noise_between(latents, noise, self.alphas_cumprod[sample.timestep])
        if self.noise_offset > 0:
            noise = noise + self.noise_offset * torch.randn((*mean.shape[:2], 1, 1), generator=generator)
        return latents, noise

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)
