"""How much memory a run will take, said before the first step."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.training.activations import kept_numbers, largest_part

#: bytes of a number kept in half precision are more than two, because norms compute in float32; counted as the rest
FULL_BYTES, HALF_BYTES = 4, 2.5
#: gradient, two moments and the weight itself, float32
TRAINED_BYTES, TRAINED_BYTES_8BIT = 16, 10
#: workspace of kernels and fragmentation
SPARE = 1.15


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes."""

    weights: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, with some room."""
        return int(SPARE * (self.weights + self.trained + self.activations))

    def in_words(self) -> str:
        """Say it in gigabytes.

        >>> Estimate(3_000_000_000, 0, 1_000_000_000).in_words()
        'about 4.6 GB: 3.0 weights, 0.0 what is trained, 1.0 activations'
        """
        parts = (f"{self.weights / 1e9:.1f} weights", f"{self.trained / 1e9:.1f} what is trained")
        return f"about {self.total / 1e9:.1f} GB: {', '.join(parts)}, {self.activations / 1e9:.1f} activations"


def estimate(
    config: TrainConfig,
    unet_config: Mapping[str, Any],
    *,
    frozen_bytes: int,
    trained: int,
    area: int,
    dtype: torch.dtype,
    recompute: bool,
) -> Estimate:
    """Estimate a step. `trained`: parameters with gradients; `area`: latent pixels of the largest bucket."""
    frames = 1 if config.stage == "domain-adapter" else config.data.num_frames
    numbers = kept_numbers(unet_config, config.stage, recompute=recompute)
    if recompute:
        numbers += largest_part(unet_config, config.stage)
    activations = numbers * frames * config.batch * area * (FULL_BYTES if dtype == torch.float32 else HALF_BYTES)
    per_parameter = TRAINED_BYTES_8BIT if config.optimizer == "adamw8bit" else TRAINED_BYTES
    return Estimate(frozen_bytes, trained * per_parameter, int(activations))


def remedies(config: TrainConfig, dtype: torch.dtype, *, recompute: bool) -> str:
    """Name the switches that lower memory, the one that costs least first."""
    ways = [
        "" if recompute else "`--gradient-checkpointing`",
        "`--dtype bf16`" if dtype == torch.float32 else "",
        f"`--batch 1 --accumulation {config.batch * config.accumulation}`" if config.batch > 1 else "",
        f"`--size {max(64, config.data.size * 3 // 4 // 64 * 64)}`" if config.data.size > 64 else "",
        f"`--frames {config.data.num_frames // 2}`" if config.data.num_frames > 8 else "",
        "`--optimizer adamw8bit`" if config.optimizer == "adamw" and config.stage == "motion-module" else "",
    ]
    if not any(ways):
        return "no switch lowers it further: use a device with more memory, or a smaller image model"
    return f"lower it with {', or '.join(way for way in ways if way)}"


def free_bytes(device: torch.device) -> int | None:
    """Ask how much memory is free; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
