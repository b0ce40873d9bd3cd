"""Trainable low-rank branches on linear layers, attached by forward hooks.

W' = W + up · down (Hu et al. 2021; AnimateDiff, equation 3). Like the plug, hooks change no module, no name and no
`state_dict`: what loads into the UNet keeps loading while it trains.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from animdiff_cli.errors import IntegrityError
from animdiff_cli.motion import MotionModule
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.lora_layouts import module_of, read_alphas, read_names
from animdiff_cli.weights.motion import diffusers_name

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


class LoraLayer(nn.Module):
    """down [rank, in] and up [out, rank], float32. `up` starts at zero, so an untrained branch changes nothing."""

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        down = torch.randn(rank, layer.in_features, generator=generator) / rank
        self.down = nn.Parameter(down.to(layer.weight.device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, device=layer.weight.device))


class LoraLayers:
    """Branches on named layers, switched together. Names are those of diffusers, within the UNet.

    `scale` multiplies what the branches add. Parameters are float32 whatever the layers compute in.
    """

    def __init__(self, layers: Mapping[str, nn.Linear], branches: Mapping[str, LoraLayer], scale: float = 1.0) -> None:
        self.branches = dict(branches)
        self.scale = scale
        self._enabled, self._trained = True, True
        self._handles: list[RemovableHandle] = [
            layers[name].register_forward_hook(self._hook(branch)) for name, branch in self.branches.items()
        ]

    @classmethod
    def new(cls, layers: Mapping[str, nn.Linear], rank: int, *, scale: float = 1.0, seed: int = 0) -> "LoraLayers":
        """Attach untrained branches. `scale` is alpha / rank."""
        generator = torch.Generator().manual_seed(seed)
        return cls(layers, {name: LoraLayer(layer, rank, generator) for name, layer in layers.items()}, scale)

    @classmethod
    def load(cls, layers: Mapping[str, nn.Linear], path: Path, scale: float = 1.0) -> "LoraLayers":
        """Attach frozen branches from a LoRA file of any layout. Raises `IntegrityError` where it does not fit."""
        return cls(layers, _read_branches(layers, path), scale).freeze()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Name every trainable tensor, in a fixed order."""
        return {
            f"{name}.{side}": parameter
            for name, branch in self.branches.items()
            for side, parameter in branch.named_parameters()
        }

    def freeze(self) -> "LoraLayers":
        """Take no more gradients."""
        for parameter in self.parameters().values():
            parameter.requires_grad_(False)
        return self

    @contextmanager
    def used(self, *, enabled: bool = True, trained: bool = True) -> Iterator[None]:
        """Switch the branches for the calls inside: off, or on without gradients reaching them."""
        before = self._enabled, self._trained
        self._enabled, self._trained = enabled, trained
        try:
            yield
        finally:
            self._enabled, self._trained = before

    def detach(self) -> None:
        """Take the branches off; the layers are then what they were."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, branch: LoraLayer) -> Callable[..., Tensor | None]:
        def add(_layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._enabled:
                return None
            down, up = (branch.down, branch.up) if self._trained else (branch.down.detach(), branch.up.detach())
            inner = F.linear(args[0], down.to(args[0].dtype))
            return output + self.scale * F.linear(inner, up.to(inner.dtype)).to(output.dtype)

        return add


def motion_projections(motion: MotionModule) -> dict[str, nn.Linear]:
    """Find what a MotionLoRA changes: the attention projections of every temporal transformer."""
    return {
        diffusers_name(name) or name: module
        for name, module in motion.named_modules()
        if isinstance(module, nn.Linear) and ".attention_blocks." in name and name.endswith(PROJECTIONS)
    }


def image_projections(unet: Any) -> dict[str, nn.Linear]:
    """Find what a domain adapter changes: projections of the image model's self- and cross-attentions."""
    ends = tuple(f"{attention}.{projection}" for attention in ("attn1", "attn2") for projection in PROJECTIONS)
    return {
        name: module for name, module in unet.named_modules() if isinstance(module, nn.Linear) and name.endswith(ends)
    }


def _read_branches(layers: Mapping[str, nn.Linear], path: Path) -> dict[str, LoraLayer]:
    file = open_weights(path)
    names = read_names(file)
    alphas = read_alphas(file, names)
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in names.items():
        if name.role in ("down", "up"):
            halves.setdefault(name.module, {})[name.role] = tensor.read().float().flatten(1)
            if name.role == "up" and alphas and module_of(name) in alphas.values:
                halves[name.module]["alpha"] = torch.tensor(alphas.values[module_of(name)])
    if strangers := sorted(halves.keys() - layers.keys()):
        raise IntegrityError(
            f"{path.name} changes `{strangers[0]}`, which this model does not have",
            hint="LoRA and model must be of one base: `animdiff inspect` tells",
        )
    return {name: _branch(layers[name], half, f"{path.name}: `{name}`") for name, half in halves.items()}


def _branch(layer: nn.Linear, half: Mapping[str, Tensor], source: str) -> LoraLayer:
    rank = half["down"].shape[0]
    wanted = (layer.in_features, layer.out_features)
    if (half["down"].shape[1], half["up"].shape[0]) != wanted:
        raise IntegrityError(f"{source} is {half['down'].shape[1]} wide, this model's layer is {wanted[0]}")
    branch = LoraLayer(layer, rank, torch.Generator())
    factor = float(half["alpha"]) / rank if "alpha" in half else 1.0
    with torch.no_grad():
        branch.down.copy_(half["down"])
        branch.up.copy_(half["up"] * factor)
    return branch
