"""Estimate the memory of a training step before the first step.

Activations are counted layer by layer from the UNet's config. The numbers per layer were measured on meta tensors at
true size with memory-efficient attention; `tests/training` measures them again. Text embeddings and LoRA activations
are small in comparison and left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.core.choices import Stage
from animdiff_cli.diffusion.unet_layers import Layer, unet_layers

#: bytes per activation. More than two in half precision, because norms compute in float32
FULL_BYTES, HALF_BYTES = 4, 2.5
#: bytes per trained parameter: weight, gradient and two moments, float32
TRAINED_BYTES, TRAINED_BYTES_8BIT = 16, 10
#: kernel workspaces and fragmentation
OVERHEAD = 1.15

#: activations per pixel and channel, by stage: a frozen linear layer saves no input, a trained one does
SPATIAL_BLOCK: Mapping[Stage, float] = {"motion-lora": 21, "motion-module": 21, "domain-adapter": 28}
TEMPORAL: Mapping[Stage, float] = {"motion-lora": 27.5, "motion-module": 33}
#: of a spatial transformer outside its blocks, with 1x1 convolutions (SD1.5) or linear layers (SDXL)
SPATIAL_PROJECTIONS, SPATIAL_PROJECTIONS_LINEAR = 3, 1
RESNET = 3  # per input channel and per output channel


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory of a training step in bytes."""

    weights: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        """The sum, with overhead."""
        return int(OVERHEAD * (self.weights + self.trained + self.activations))

    def describe(self) -> str:
        """Format in gigabytes.

        >>> Estimate(3_000_000_000, 0, 1_000_000_000).describe()
        'about 4.6 GB: 3.0 frozen weights, 0.0 trained weights, 1.0 activations'
        """
        weights = f"{self.weights / 1e9:.1f} frozen weights, {self.trained / 1e9:.1f} trained weights"
        return f"about {self.total / 1e9:.1f} GB: {weights}, {self.activations / 1e9:.1f} activations"


def estimate(
    config: TrainConfig,
    unet_config: Mapping[str, Any],
    *,
    frozen_bytes: int,
    trained: int,
    area: int,
    dtype: torch.dtype,
    gradient_checkpointing: bool,
) -> Estimate:
    """Estimate a step. `trained`: number of trained parameters; `area`: latent pixels of the largest bucket."""
    frames = 1 if config.stage == "domain-adapter" else config.data.num_frames
    numbers = saved_activations(unet_config, config.stage, gradient_checkpointing=gradient_checkpointing)
    if gradient_checkpointing:
        numbers += largest_layer(unet_config, config.stage)
    activations = numbers * frames * config.batch * area * (FULL_BYTES if dtype == torch.float32 else HALF_BYTES)
    per_parameter = TRAINED_BYTES_8BIT if config.optimizer == "adamw8bit" else TRAINED_BYTES
    return Estimate(frozen_bytes, trained * per_parameter, int(activations))


def remedies(config: TrainConfig, dtype: torch.dtype, *, gradient_checkpointing: bool) -> str:
    """List the options that lower memory, cheapest first."""
    options = [
        "" if gradient_checkpointing else "`--gradient-checkpointing`",
        "`--dtype bf16`" if dtype == torch.float32 else "",
        f"`--batch 1 --accumulation {config.batch * config.accumulation}`" if config.batch > 1 else "",
        f"`--size {max(64, config.data.size * 3 // 4 // 64 * 64)}`" if config.data.size > 64 else "",
        f"`--frames {config.data.num_frames // 2}`" if config.data.num_frames > 8 else "",
        "`--optimizer adamw8bit`" if config.optimizer == "adamw" and config.stage == "motion-module" else "",
    ]
    if not any(options):
        return "no option lowers it further: use a device with more memory, or a smaller image model"
    return f"lower it with {', or '.join(option for option in options if option)}"


def saved_activations(unet_config: Mapping[str, Any], stage: Stage, *, gradient_checkpointing: bool) -> float:
    """Return the activations per frame and latent pixel that are saved for the backward pass."""
    projections = SPATIAL_PROJECTIONS_LINEAR if unet_config.get("use_linear_projection") else SPATIAL_PROJECTIONS
    last = 3 * int(unet_config["block_out_channels"][0])  # norm, activation and convolution at the end
    return last + sum(
        _saved(layer, stage, projections, gradient_checkpointing=gradient_checkpointing) / _pixels(layer)
        for layer in unet_layers(unet_config)
    )


def largest_layer(unet_config: Mapping[str, Any], stage: Stage) -> float:
    """Return the activations per frame and latent pixel of the largest layer while it is recomputed."""

    def recomputed(layer: Layer) -> float:
        block = Layer(layer.kind, layer.level, layer.in_channels, layer.out_channels)  # blocks are recomputed singly
        return _saved(block, stage, 0, gradient_checkpointing=False) / _pixels(layer)

    return max(map(recomputed, unet_layers(unet_config)))


def _pixels(layer: Layer) -> int:
    """Return the number of latent pixels per pixel of the layer's feature map."""
    return 1 << 2 * layer.level


def _saved(layer: Layer, stage: Stage, projections: float, *, gradient_checkpointing: bool) -> float:
    if layer.kind == "resnet":
        return layer.in_channels if gradient_checkpointing else RESNET * (layer.in_channels + layer.out_channels)
    if layer.kind == "spatial":
        return layer.in_channels * (projections + layer.depth * (1 if gradient_checkpointing else SPATIAL_BLOCK[stage]))
    if layer.kind == "temporal":
        if stage not in TEMPORAL:  # single frames skip temporal transformers
            return 0
        return layer.in_channels * (1 if gradient_checkpointing else TEMPORAL[stage])
    return layer.in_channels
