"""Apply LoRAs beside the weights of a UNet or a motion module: hooks that add to the outputs of their layers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.core.curves import Curve
from animdiff_cli.motion.lora import canonical_name
from animdiff_cli.motion.module import MotionModule, PlugState
from animdiff_cli.motion.unet import UNet
from animdiff_cli.motion.windows import WindowTensors
from animdiff_cli.weights.lora_beside import LayerChange, ScheduledLora, read_changes

#: the layer of a temporal transformer that sees all frames, after its windows were averaged
_AFTER_WINDOWS = ".proj_out"

Changes = Sequence[tuple[str, LayerChange]]  # by the name of the layer in its network


@dataclass(frozen=True, slots=True, eq=False)
class BesideLora:
    """A LoRA whose scale varies, read: its changes of the UNet, or of the motion module plugged into it."""

    changes: Changes
    scale: Curve
    in_motion: bool = False

    def to(self, device: torch.device) -> "BesideLora":
        """Return the LoRA with its changes on the device that computes, wherever the weights of the layers rest."""
        return replace(self, changes=[(name, change.to(device)) for name, change in self.changes])


@dataclass(slots=True)
class BesideState:
    """The scale of a LoRA in the UNet call that runs now: one number, or a tensor [F]."""

    scale: float | Tensor = 0.0
    call: int = 0  # counts UNet calls

    def begin(self, scale: float | Tensor) -> None:
        """Set the scale for the UNet call that comes next."""
        self.scale, self.call = scale, self.call + 1


def read_for_unet(lora: ScheduledLora, unet: UNet) -> BesideLora:
    """Read the changes of a UNet. Raises `IntegrityError` for numbers that are not finite."""
    return BesideLora(_read(lora, {f"unet.{name}": name for name, _ in unet.named_modules()}, unet), lora.scale)


def read_for_motion(lora: ScheduledLora, motion: MotionModule) -> BesideLora:
    """Read the changes of a motion module. Raises as `read_for_unet`."""
    names = {canonical_name(f"{name}.weight").removesuffix(".weight"): name for name, _ in motion.named_modules()}
    return BesideLora(_read(lora, names, motion), lora.scale, in_motion=True)


@contextmanager
def applied_beside(lora: BesideLora, network: UNet | MotionModule) -> Iterator[BesideState]:
    """Add the changes to the outputs of their layers inside this context, at the scale of the state it yields."""
    state = BesideState()
    layers: dict[str, nn.Module] = dict(network.named_modules())
    plug = network.state if isinstance(network, MotionModule) else None
    handles = [
        layers[name].register_forward_hook(_BesideHook(change, state, plug, not name.endswith(_AFTER_WINDOWS)))
        for name, change in lora.changes
    ]
    try:
        yield state
    finally:
        for handle in handles:
            handle.remove()


def is_changed_beside(layer: nn.Module) -> bool:
    """Return whether a LoRA is applied beside the weights of this layer now."""
    return any(isinstance(hook, _BesideHook) for hook in layer._forward_hooks.values())


@dataclass(slots=True, eq=False)
class _BesideHook:
    """Add the scaled change to a layer's output.

    Layers of a UNet see images [B*F, …], those of a motion module tokens [B, F, P, D], where its plug has windows and
    the layer `is_windowed` [B, L, P, D] for one window after the other.
    """

    change: LayerChange
    state: BesideState
    plug: PlugState | None = None  # of a motion module
    is_windowed: bool = False
    call: int = 0  # the UNet call that runs
    windows_done: int = 0  # in that call

    def __call__(self, layer: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        scale = self.state.scale
        if isinstance(scale, float):
            return output + scale * self.change(layer, args[0]) if scale else None
        axis = 1 if self.plug else 0
        if self.plug and self.plug.windows and self.is_windowed:
            scale = scale[self._window(self.plug.windows)]
        repeats, rest = divmod(output.shape[axis], len(scale))
        if rest:
            raise ValueError(f"{output.shape[axis]} images do not divide into clips of {len(scale)} frames")
        shape = [1] * output.dim()
        shape[axis] = -1
        return output + scale.to(output).repeat(repeats).view(shape) * self.change(layer, args[0])

    def _window(self, windows: Sequence[WindowTensors]) -> Tensor:
        """Return the frames of the window that the layer sees now: each once per UNet call, in their order."""
        if self.call != self.state.call:
            self.call, self.windows_done = self.state.call, 0
        self.windows_done += 1
        return windows[self.windows_done - 1].frames


def _read(lora: ScheduledLora, names: Mapping[str, str], network: UNet | MotionModule) -> Changes:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    by_name = {canonical: layers[name] for canonical, name in names.items()}
    return [(names[canonical], change) for canonical, change in read_changes(lora.lora, by_name)]
