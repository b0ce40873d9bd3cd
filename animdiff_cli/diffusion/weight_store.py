"""Weights that rest elsewhere, or in fewer bits, while their layers do not run.

A network is divided into units of a few layers. Before a unit runs, hooks bring its matrices to the device in the dtype
of the computation; afterwards they put the resting ones back. One unit ahead is copied meanwhile. Numbers are copied as
they are, so frames stay equal to the bit, except with `compress`, which keeps matrices in 8 bits.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.core.weight_units import UNIT_BYTES, unit_modules

FP8 = torch.float8_e4m3fn
#: largest power of two that FP8 holds
_FP8_TOP = 256.0
_DEVICE = "_animdiff_device"

Slot = tuple[nn.Module, str]  # the layer and the name of its parameter
Fetched = tuple[list[Tensor], Any]  # tensors on the device, and the CUDA event after which they are complete


@dataclass(slots=True, eq=False)
class _Unit:
    slots: list[Slot]
    keeps_precision: bool
    scales: dict[Slot, Tensor] = field(default_factory=dict)  # of compressed matrices, on the device
    held: list[Tensor] | None = None  # copies on the device that outlive a call
    resting: list[Any] | None = None  # parameters to put back; None while the unit does not run

    def parameters(self) -> list[Any]:
        return [layer._parameters[name] for layer, name in self.slots]

    def assign(self, tensors: Sequence[Tensor]) -> None:
        for (layer, name), tensor in zip(self.slots, tensors, strict=True):
            layer._parameters[name] = as_parameter(tensor)


class WeightStore:
    """The units of some networks that run one after the other, and the hooks that bring their weights."""

    def __init__(
        self, networks: Sequence[nn.Module], device: torch.device, dtype: torch.dtype, *, unit_bytes: int = UNIT_BYTES
    ) -> None:
        """Divide `networks` into units. What is in no unit, vectors and buffers, moves to `device`."""
        self.device, self.dtype, self.hold = device, dtype, False
        self._units = [unit for network in networks for unit in _install(self, network, unit_bytes)]
        self._after: dict[_Unit, _Unit] = {}  # in the order of the last call
        self._last: _Unit | None = None
        self._ahead: tuple[_Unit, Fetched] | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # torch
        self._done: deque[Any] = deque()  # CUDA events after units
        for network in networks:
            _move_residents(network, {id(parameter) for unit in self._units for parameter in unit.parameters()}, device)
            setattr(network, _DEVICE, device)

    def rest(self, where: torch.device, *, hold: bool = False) -> None:
        """Let weights rest on a device: this one or the CPU. With `hold`, copies stay until `release`."""
        self.release()
        self.hold = hold
        for unit in self._units:
            unit.assign([self._resting(weight.detach(), where) for weight in unit.parameters()])

    def release(self) -> None:
        """Drop the copies on the device of weights that rest on the CPU."""
        self._ahead, self._last = None, None
        self._done.clear()
        for unit in self._units:
            unit.held = None

    def compress(self) -> None:
        """Keep matrices in 8 bits (FP8, e4m3), each row with a power of two as its scale. Norms and embeddings stay."""
        for unit in self._units:
            if unit.keeps_precision:
                continue
            packed = [_packed(weight.detach()) for weight in unit.parameters()]
            unit.scales = {
                slot: scale.to(self.device, self.dtype) for slot, (_, scale) in zip(unit.slots, packed, strict=True)
            }
            unit.assign([numbers for numbers, _ in packed])

    @property
    def bytes(self) -> int:
        """Bytes of all units while they rest."""
        return sum(weight.nbytes for unit in self._units for weight in unit.parameters())

    @property
    def unit_bytes(self) -> int:
        """Bytes of the largest unit while it runs."""
        sizes = (sum(weight.numel() for weight in unit.parameters()) for unit in self._units)
        return max(sizes, default=0) * self.dtype.itemsize

    def enter(self, unit: _Unit) -> None:
        """Bring the weights of a unit to the device, and start to copy those of the next."""
        resting = unit.parameters()
        tensors, event = self._fetched(unit, resting)
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)
            for tensor in tensors:
                tensor.record_stream(torch.cuda.current_stream(self.device))
        weights = [
            tensor.to(self.dtype).mul_(unit.scales[slot]) if slot in unit.scales else tensor
            for slot, tensor in zip(unit.slots, tensors, strict=True)
        ]
        unit.resting = resting
        unit.assign(weights)
        if self._last is not None:
            self._after[self._last] = unit
        self._last = unit
        self._copy_ahead(self._after.get(unit))

    def leave(self, unit: _Unit) -> None:
        """Put the resting weights back."""
        if unit.resting is None:  # it did not get its weights
            return
        for (layer, name), parameter in zip(unit.slots, unit.resting, strict=True):
            layer._parameters[name] = parameter
        unit.resting = None
        if self._stream is not None:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch
            event.record(torch.cuda.current_stream(self.device))
            self._done.append(event)

    def _resting(self, weight: Tensor, where: torch.device) -> Tensor:
        return weight.to(where) if where == self.device else _pinned(weight, self.device)

    def _fetched(self, unit: _Unit, resting: Sequence[Tensor]) -> Fetched:
        if unit.held is not None:
            return unit.held, None
        if self._ahead is not None and self._ahead[0] is unit:
            fetched, self._ahead = self._ahead[1], None
        else:
            self._ahead = None
            fetched = [weight.detach().to(self.device, non_blocking=True) for weight in resting], None
        if self.hold:
            unit.held = fetched[0]
        return fetched

    def _copy_ahead(self, unit: _Unit | None) -> None:
        if unit is None or unit.held is not None or unit.resting is not None:
            return
        weights = unit.parameters()
        if all(weight.device == self.device for weight in weights):
            return
        # torch may reuse memory of a unit when the device is done with it: wait, so that few units are there at once
        while len(self._done) > 1:
            self._done.popleft().synchronize()
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            tensors = [weight.detach().to(self.device, non_blocking=True) for weight in weights]
            event = None
            if self._stream is not None:
                event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch
                event.record(self._stream)
        self._ahead = unit, (tensors, event)


def compute_device(network: Any) -> torch.device:
    """Return where a network computes, which may not be where its weights rest."""
    device: torch.device = getattr(network, _DEVICE, None) or network.device
    return device


def moves_weights(network: Any) -> bool:
    """Whether weights of a network come and go while it runs: a CUDA graph of it would read freed memory."""
    return hasattr(network, _DEVICE)


def as_parameter(tensor: Tensor) -> nn.Parameter:
    """Wrap a tensor as a parameter that takes no gradient."""
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor.detach(), requires_grad=False)


def _install(store: WeightStore, network: nn.Module, unit_bytes: int) -> Iterator[_Unit]:
    def runs(name: str) -> bool:
        return type(network.get_submodule(name)).forward is not nn.Module.forward

    matrices = {name: weight.nbytes for name, weight in network.named_parameters() if weight.dim() > 1}
    for name in unit_modules(matrices, unit_bytes, runs):
        module = network.get_submodule(name)
        slots = [
            (layer, own)
            for layer in module.modules()
            for own, weight in layer._parameters.items()
            if weight is not None and weight.dim() > 1
        ]
        unit = _Unit(slots, keeps_precision="embed" in name)
        # first of all hooks, so that others find the weights there; the last one runs too if a layer fails
        module.register_forward_pre_hook(lambda _module, _args, unit=unit: store.enter(unit), prepend=True)
        module.register_forward_hook(
            lambda _module, _args, _output, unit=unit: store.leave(unit), prepend=True, always_call=True
        )
        yield unit


def _move_residents(network: nn.Module, in_units: set[int], device: torch.device) -> None:
    for layer in network.modules():
        for name, weight in layer._parameters.items():
            if weight is not None and id(weight) not in in_units:
                layer._parameters[name] = as_parameter(weight.detach().to(device))
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = buffer.to(device)


def _packed(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers in FP8 and the scale of each row, a power of two: it shifts exponents and rounds nothing."""
    rows = weight.flatten(1).abs().amax(1).float().clamp(min=2.0**-14)
    scale = torch.exp2(torch.ceil(torch.log2(rows / _FP8_TOP))).view(-1, *[1] * (weight.dim() - 1))
    return (weight / scale.to(weight.dtype)).to(FP8), scale


def _pinned(weight: Tensor, device: torch.device) -> Tensor:
    """Copy to the CPU; for a CUDA device to memory that it reads while it computes."""
    rests = weight.cpu()
    if device.type != "cuda" or rests.is_pinned():
        return rests
    try:
        return rests.pin_memory()
    except RuntimeError:  # the system allows no more: copies are slower then
        return rests
