"""Faster arithmetic for the layers of a network, put in place of their own `forward` and taken away again.

A network stays what it is: modules, names, weights and hooks do not change, and a layer whose `forward` was replaced
computes the plain way where gradients are recorded or code is compiled around it. Each file here has the forwards of
one kind of device.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from types import MethodType
from typing import Any, Self

from torch import nn

from animdiff_cli.diffusion.kernels.trial import NOT_INSTALLED, obstacle
from animdiff_cli.diffusion.text_encoders import Report, ignore_report

Forward = Callable[..., Any]  # takes the module first, as the function of a method does
Replacement = tuple[nn.Module, Forward]


@dataclass(frozen=True, slots=True)
class Installed:
    """The modules whose `forward` is replaced. As a context manager, it puts the plain path back at the end.

    `around` replaces functions of torch as well, inside the context only.
    """

    replaced: tuple[Replacement, ...] = ()
    around: AbstractContextManager[object] | None = None
    _entered: ExitStack = field(default_factory=ExitStack)

    def remove(self) -> None:
        """Put the plain path back, except where something else has replaced `forward` since."""
        for module, forward in self.replaced:
            if getattr(module.__dict__.get("forward"), "__func__", None) is forward:
                del module.__dict__["forward"]

    def __enter__(self) -> Self:
        if self.around:
            self._entered.enter_context(self.around)
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()
        self.remove()


def install(*networks: nn.Module, report: Report = ignore_report) -> Installed:
    """Install what fits the device and dtype of each network and works here; possibly nothing.

    `report` receives a note if Triton is installed and does not work, and the first time that the layers for CPUs
    cannot be compiled although there is a compiler.
    """
    installed = replace_forwards(pair for network in networks for pair in _fitting(network, report))
    return replace(installed, around=_around(networks))


def replace_forwards(replacements: Iterable[Replacement]) -> Installed:
    """Replace the `forward` of modules by functions. Copies of the modules run them too."""
    replaced = tuple(replacements)
    for module, forward in replaced:
        module.forward = MethodType(forward, module)
    return Installed(replaced)


def _fitting(network: nn.Module, report: Report) -> Iterator[Replacement]:
    kinds = {weight.device.type for weight in network.parameters()}  # some weights may rest in main memory
    if "cuda" in kinds:
        device = next(weight.device for weight in network.parameters() if weight.device.type == "cuda")
        dtype = next(weight.dtype for weight in network.parameters() if weight.dim() == 1)  # not that of 8 bits
        why = obstacle(device, dtype)
        if why is None:
            from animdiff_cli.diffusion.kernels import cuda  # Triton takes a second to import

            yield from cuda.replacements(network)
        elif why != NOT_INSTALLED:
            report(f"rendering without Triton's kernels, which takes longer: {why}")
    elif kinds == {"cpu"}:
        from animdiff_cli.diffusion.kernels import cpu, native

        yield from cpu.replacements(network)
        while native.failures:
            report(f"rendering without the compiled layers, which takes longer: {native.failures.pop()}")


def _around(networks: Iterable[nn.Module]) -> AbstractContextManager[object] | None:
    if {weight.device.type for network in networks for weight in network.parameters()} != {"cpu"}:
        return None
    from animdiff_cli.diffusion.kernels import cpu

    return cpu.CpuKernels()
