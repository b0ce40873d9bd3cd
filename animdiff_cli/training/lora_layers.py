"""Trainable LoRA layers on linear layers, attached by forward hooks.

W' = W + up · down (Hu et al. 2021; AnimateDiff, equation 3). Like the motion plug, hooks change no module, no name and
no `state_dict`: whatever loads into the UNet also loads while it trains.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from animdiff_cli.errors import IntegrityError
from animdiff_cli.motion import MotionModule
from animdiff_cli.motion.unet import UNet
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.lora_layouts import module_of, read_alphas, read_names
from animdiff_cli.weights.motion import diffusers_name

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


class LoraLayer(nn.Module):
    """`down` `[rank, in]` and `up` `[out, rank]`, float32. `up` starts at zero: an untrained layer adds nothing."""

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        down = torch.randn(rank, linear.in_features, generator=generator) / rank
        self.down = nn.Parameter(down.to(linear.weight.device))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=linear.weight.device))


class LoraLayers:
    """LoRA layers by the diffusers name of their linear layer within the UNet, switched on and off together.

    `scale` multiplies what the layers add. Parameters are float32, whatever the dtype of the linear layers.
    """

    def __init__(self, linears: Mapping[str, nn.Linear], layers: Mapping[str, LoraLayer], scale: float = 1.0) -> None:
        self.layers = dict(layers)
        self.scale = scale
        self._enabled, self._trained = True, True
        self._handles: list[RemovableHandle] = [
            linears[name].register_forward_hook(self._hook(layer)) for name, layer in self.layers.items()
        ]

    @classmethod
    def new(cls, linears: Mapping[str, nn.Linear], rank: int, *, scale: float = 1.0, seed: int = 0) -> "LoraLayers":
        """Attach untrained layers. `scale` is alpha / rank."""
        generator = torch.Generator().manual_seed(seed)
        return cls(linears, {name: LoraLayer(linear, rank, generator) for name, linear in linears.items()}, scale)

    @classmethod
    def load(cls, linears: Mapping[str, nn.Linear], path: Path, scale: float = 1.0) -> "LoraLayers":
        """Attach frozen layers from a LoRA file of any layout. Raises `IntegrityError` if it does not fit."""
        return cls(linears, _read_layers(linears, path), scale).freeze()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return every parameter by name, in a fixed order."""
        return {
            f"{name}.{role}": parameter
            for name, layer in self.layers.items()
            for role, parameter in layer.named_parameters()
        }

    def freeze(self) -> "LoraLayers":
        """Set `requires_grad` to False."""
        for parameter in self.parameters().values():
            parameter.requires_grad_(False)
        return self

    @contextmanager
    def switched(self, *, enabled: bool = True, trained: bool = True) -> Iterator[None]:
        """Switch the layers inside the context: off, or on with or without gradients."""
        before = self._enabled, self._trained
        self._enabled, self._trained = enabled, trained
        try:
            yield
        finally:
            self._enabled, self._trained = before

    def remove(self) -> None:
        """Remove the hooks; the linear layers then compute as before."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, layer: LoraLayer) -> Callable[..., Tensor | None]:
        def add(_linear: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._enabled:
                return None
            down, up = (layer.down, layer.up) if self._trained else (layer.down.detach(), layer.up.detach())
            inner = F.linear(args[0], down.to(args[0].dtype))
            return output + self.scale * F.linear(inner, up.to(inner.dtype)).to(output.dtype)

        return add


def motion_projections(motion: MotionModule) -> dict[str, nn.Linear]:
    """Return the layers of a MotionLoRA: the attention projections of every temporal transformer."""
    return {
        diffusers_name(name) or name: module
        for name, module in motion.named_modules()
        if isinstance(module, nn.Linear) and ".attention_blocks." in name and name.endswith(PROJECTIONS)
    }


def image_projections(unet: UNet) -> dict[str, nn.Linear]:
    """Return the layers of a domain adapter: the projections of the image model's self- and cross-attentions."""
    ends = tuple(f"{attention}.{projection}" for attention in ("attn1", "attn2") for projection in PROJECTIONS)
    return {
        name: module for name, module in unet.named_modules() if isinstance(module, nn.Linear) and name.endswith(ends)
    }


def _read_layers(linears: Mapping[str, nn.Linear], path: Path) -> dict[str, LoraLayer]:
    file = open_weights(path)
    names = read_names(file)
    alphas = read_alphas(file, names)
    matrices: dict[str, dict[str, Tensor]] = {}
    for name, tensor in names.items():
        if name.role in ("down", "up"):
            matrices.setdefault(name.module, {})[name.role] = tensor.read().float().flatten(1)
            if name.role == "up" and alphas and module_of(name) in alphas.values:
                matrices[name.module]["alpha"] = torch.tensor(alphas.values[module_of(name)])
    if unknown := sorted(matrices.keys() - linears.keys()):
        raise IntegrityError(
            f"{path.name} changes `{unknown[0]}`, which this model does not have",
            hint="LoRA and model must have the same base: see `animdiff inspect`",
        )
    return {name: _layer(linears[name], pair, f"{path.name}: `{name}`") for name, pair in matrices.items()}


def _layer(linear: nn.Linear, matrices: Mapping[str, Tensor], source: str) -> LoraLayer:
    down, up = matrices["down"], matrices["up"]
    rank = down.shape[0]
    if (down.shape[1], up.shape[0]) != (linear.in_features, linear.out_features):
        raise IntegrityError(f"{source} is {down.shape[1]} wide, this model's layer is {linear.in_features}")
    layer = LoraLayer(linear, rank, torch.Generator())
    factor = float(matrices["alpha"]) / rank if "alpha" in matrices else 1.0
    with torch.no_grad():
        layer.down.copy_(down)
        layer.up.copy_(up * factor)
    return layer
