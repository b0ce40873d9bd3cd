"""LoRAs applied beside the weights, so that their scale may vary: y + s · ΔW·x instead of (W + s · ΔW)·x.

That holds for changes of linear layers and convolutions which do not depend on W: low-rank products, LoHa, LoKr, full
matrices and biases. Low-rank products stay two small layers; other families are kept as whole matrices.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animdiff_cli.core.curves import Curve
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.lora import LoraWeights, ModuleTensors
from animdiff_cli.weights.lora_merge import lora_delta
from animdiff_cli.weights.lora_relative import is_relative

_PRODUCT = {"up", "down", "scalar", "alpha"}


@dataclass(frozen=True, slots=True)
class ScheduledLora:
    """An open LoRA of a UNet or a motion module whose scale is a curve."""

    lora: LoraWeights
    scale: Curve


@dataclass(frozen=True, slots=True)
class LayerChange:
    """The change of one layer at scale 1. `up` is [out, r], or all of ΔW where `down` is None; 1-D for a bias."""

    up: Tensor
    down: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """Move the tensors to a device."""
        return replace(self, up=self.up.to(device), down=None if self.down is None else self.down.to(device))

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return what the change adds to the output of `layer` for the input `x`, or a bias that broadcasts."""
        if self.up.dim() == 1:
            return self.up[:, None, None] if isinstance(layer, nn.Conv2d) else self.up
        first = self.up if self.down is None else self.down
        if isinstance(layer, nn.Conv2d):
            x = x[:, : first.shape[1]]  # PIA appends channels to the first layer's
            y = F.conv2d(x, first, None, layer.stride, layer.padding, layer.dilation)
            return y if self.down is None else F.conv2d(y, self.up[:, :, None, None])
        y = F.linear(x, first)
        return y if self.down is None else F.linear(y, self.up)


def split_scheduled(
    loras: Iterable[tuple[LoraWeights, float | Curve]],
) -> tuple[tuple[LoraWeights, ...], tuple[ScheduledLora, ...]]:
    """Split checked LoRAs, each with its scale, into what is merged and what is applied beside the weights.

    All of a LoRA is merged at a constant scale. Of a scheduled one, the part of the text encoders is merged, at the
    value of the curve that is farthest from 0: a prompt is encoded once for all frames and steps. Raises `UsageError`
    for changes that cannot vary.
    """
    split = [_split(lora, scale) for lora, scale in loras]
    return tuple(lora for merged, _ in split for lora in merged), tuple(lora for _, beside in split for lora in beside)


def _split(lora: LoraWeights, scale: float | Curve) -> tuple[list[LoraWeights], list[ScheduledLora]]:
    if not isinstance(scale, Curve):
        return [replace(lora, scale=scale)], []
    beside = {module: tensors for module, tensors in lora.modules.items() if module.startswith("unet.")}
    merged = {module: tensors for module, tensors in lora.modules.items() if module not in beside}
    for module, tensors in beside.items():
        if reason := _fixed(module, tensors):
            raise UsageError(
                f"{lora.source} cannot have a curve as its scale: it changes `{module.removeprefix('unet.')}` {reason}",
                hint="give it one scale, as in `REF@0.8`",
            )
    return (
        [replace(lora, modules=merged, scale=scale.strongest)] if merged else [],
        [ScheduledLora(replace(lora, modules=beside, scale=1.0), scale)] if beside else [],
    )


def read_changes(lora: LoraWeights, layers: Mapping[str, nn.Module]) -> Iterator[tuple[str, LayerChange]]:
    """Read the changes of a LoRA onto the device and dtype of the layers, given by canonical name.

    Yields the canonical name of each layer with its change. Raises `IntegrityError` for numbers that are not finite.
    """
    for module, tensors in lora.modules.items():
        name = module if module in layers else module.rpartition(".")[0]
        parameter = layers[name].get_parameter("bias" if module.endswith(".bias") else "weight")
        change = _change(tensors, lora.alphas.get(module), parameter)
        if not all(bool(part.isfinite().all()) for part in (change.up, change.down) if part is not None):
            raise IntegrityError(
                f"{lora.source} is damaged: its change of `{module}` has NaN or infinite values",
                hint="leave it out, or use an earlier checkpoint of its training",
            )
        yield name, change


def _fixed(module: str, tensors: ModuleTensors) -> str | None:
    """Say why a change cannot have a scale that varies; None if it can."""
    if is_relative(tensors) or not tensors.keys().isdisjoint(("dora_scale", "magnitude")):
        return "relative to its weights"
    if not module.endswith(".bias") and "diff" in tensors and len(tensors["diff"].shape) == 1:
        return "inside a norm"
    return None


def _change(tensors: ModuleTensors, alpha: float | None, parameter: Tensor) -> LayerChange:
    if tensors.keys() <= _PRODUCT and parameter.dim() > 1:
        down, up = (tensors[role].read().float() for role in ("down", "up"))
        rank = tensors["down"].num_rows
        factor = (1.0 if alpha is None else alpha / rank) * (
            tensors["scalar"].read().float().flatten() if "scalar" in tensors else 1.0
        )
        down = down.reshape(rank, *parameter.shape[1:])
        return LayerChange((up.flatten(1) * factor).to(parameter), down.to(parameter))
    with torch.no_grad():
        return LayerChange(lora_delta(tensors, alpha, tuple(parameter.shape), 0, parameter.shape[0]).to(parameter))
