"""Record UNet calls of one clip as CUDA graphs, and replay them in later steps.

The thousands of kernels of a small UNet take longer to launch than to run; a graph launches all of them at once. The
first call of each kind runs as usual, which also lets libraries choose and load their kernels; the second is recorded.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import ReferenceType, ref

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from animdiff_cli.diffusion.cross_attention import text_keys_and_values
from animdiff_cli.diffusion.memory import is_out_of_memory
from animdiff_cli.diffusion.text_encoders import Report, ignore_report
from animdiff_cli.diffusion.weight_store import moves_weights
from animdiff_cli.motion.plug import plugged
from animdiff_cli.motion.unet import UNet

MAX_GRAPHS = 4  # each has memory of its own for its activations


class Record(Protocol):
    """Run a function once in a way that can be repeated on the same memory; return how, and its output."""

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]: ...


def record_graph(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record the kernels that `run` launches. The output has its numbers only after the first replay."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the device meanwhile
        output = run()
    return graph.replay, output


@dataclass(slots=True)
class CudaGraphs:
    """Calls a UNet, by replaying recordings where it can.

    Calls are of one kind if their `state`, the shapes of their tensors and all other arguments are equal. A tensor
    among the keyword arguments that is the same object in the first two calls, unchanged, is read where it is; all
    others are copied into the memory of the recording.
    """

    unet: UNet
    record: Record = record_graph
    report: Report = ignore_report
    _calls: dict[Hashable, "_Seen | _Recording"] = field(default_factory=dict)
    _has_failed: bool = False

    def __call__(
        self, sample: Tensor, timestep: Tensor, arguments: Mapping[str, Any], state: Hashable | None
    ) -> Tensor:
        """Return what the UNet predicts. `state`: what decides the result beside the arguments; None: not recordable.

        If recording fails, for lack of memory for example, this call and all later ones run as usual.
        """
        if moves_weights(self.unet):  # since memory ran out: recordings would read where weights were
            self._calls.clear()
            state = None
        if state is None or self._has_failed or torch.is_grad_enabled():
            return self._run(sample, timestep, arguments)
        timestep = timestep.to(sample.device)
        values, structure = tree_flatten(dict(arguments))
        tensors = [value for value in values if isinstance(value, Tensor)]
        others = tuple(value for value in values if not isinstance(value, Tensor))
        facts = tuple((tuple(x.shape), x.dtype, x.device) for x in (sample, timestep, *tensors))
        kind = (state, str(structure), facts, others)
        known = self._calls.get(kind)
        if isinstance(known, _Recording) and known.fits(tensors):
            return known.replay((sample, timestep), tensors)
        num_recorded = sum(isinstance(call, _Recording) for call in self._calls.values())
        if isinstance(known, _Seen) and num_recorded < MAX_GRAPHS:
            try:
                recording = self._recorded(sample, timestep, values, structure, known.unchanged(tensors))
            except RuntimeError as error:
                self._give_up(error)
            else:
                self._calls[kind] = recording
                return recording.replay((sample, timestep), tensors)
        elif not isinstance(known, _Seen):
            self._calls[kind] = _Seen.of(tensors)
        return self._run(sample, timestep, arguments)

    def _run(self, sample: Tensor, timestep: Tensor, arguments: Mapping[str, Any]) -> Tensor:
        output: Tensor = self.unet(sample, timestep, **arguments, return_dict=False)[0]
        return output

    def _recorded(
        self, sample: Tensor, timestep: Tensor, values: list[Any], structure: Any, unchanged: list[bool]
    ) -> "_Recording":
        inputs = (sample.clone(), timestep.clone())
        places = [place for place, value in enumerate(values) if isinstance(value, Tensor)]
        own = list(values)
        for place, keep in zip(places, unchanged, strict=True):
            own[place] = values[place] if keep else values[place].clone()
        replay, output = self.record(lambda: self._run(*inputs, tree_unflatten(own, structure)))
        tensors = [own[place] for place in places]
        versions = [tensor._version for tensor in tensors]
        attached = plugged(self.unet)
        kept = (text_keys_and_values(self.unet), attached.motion if attached else None)
        return _Recording(replay, output, inputs, tensors, unchanged, versions, kept)

    def _give_up(self, error: RuntimeError) -> None:
        self._has_failed = True
        self._calls.clear()
        why = "out of memory" if is_out_of_memory(error) else str(error).partition("\n")[0]
        self.report(f"steps run without a CUDA graph ({why})")


@dataclass(frozen=True, slots=True)
class _Seen:
    """The tensors of the first call of a kind, not kept alive, with their versions."""

    tensors: list[tuple[ReferenceType[Tensor], int]]

    @classmethod
    def of(cls, tensors: list[Tensor]) -> "_Seen":
        return cls([(ref(tensor), tensor._version) for tensor in tensors])

    def unchanged(self, tensors: list[Tensor]) -> list[bool]:
        """Return which of these tensors are the same objects, with the same numbers."""
        pairs = zip(self.tensors, tensors, strict=True)
        return [before() is tensor and version == tensor._version for (before, version), tensor in pairs]


@dataclass(frozen=True, slots=True)
class _Recording:
    """A recorded call with the memory that it reads and writes."""

    run: Callable[[], object]
    output: Tensor
    inputs: tuple[Tensor, Tensor]  # sample and timestep
    tensors: list[Tensor]  # of the keyword arguments
    unchanged: list[bool]  # which of them are read where they are
    versions: list[int]
    kept: object  # what it reads beside its arguments

    def fits(self, tensors: list[Tensor]) -> bool:
        """Return whether tensors that are read where they are still have the numbers of the recording."""
        facts = zip(self.tensors, tensors, self.unchanged, self.versions, strict=True)
        return all(not keep or (own is given and given._version == was) for own, given, keep, was in facts)

    def replay(self, inputs: tuple[Tensor, Tensor], tensors: list[Tensor]) -> Tensor:
        """Return the prediction for these inputs, in memory of its own."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        for own, given, keep in zip(self.tensors, tensors, self.unchanged, strict=True):
            if not keep:
                own.copy_(given)
        self.run()
        return self.output.clone()
