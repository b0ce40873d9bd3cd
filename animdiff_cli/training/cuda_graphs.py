"""A step's forward and backward pass as CUDA graphs: recorded once for each shape of batch, then replayed.

A small model's thousands of kernels take longer to launch than to run; a graph launches them all at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from animdiff_cli.errors import DeviceError
from animdiff_cli.training.data.batches import Batch

Backward = Callable[[Batch, float], Tensor]

WARM_UP = 3  # passes before recording: libraries choose their kernels
MOST = 8  # graphs that are kept; batches of further shapes are computed kernel by kernel
TENSORS = ("latents", "noise", "text", "timesteps", "frame", "pooled", "sizes")


@dataclass(slots=True)
class Graphs:
    """Replays `backward`, whose loss and gradients must depend on nothing but the batch, the scale and `parameters`.

    Gradients are left on the parameters and added to those that are there, as a backward pass does.
    """

    backward: Backward
    parameters: list[nn.Parameter]
    _recorded: dict[tuple[object, ...], "_Recording"] = field(default_factory=dict)

    def __call__(self, batch: Batch, scale: float) -> Tensor:
        """Return the loss of the batch, detached; its gradients times `scale` are added to the parameters'."""
        key = (*((name, tuple(tensor.shape)) for name, tensor in _tensors(batch)), batch.mask_spatial, scale)
        if key not in self._recorded:
            if len(self._recorded) == MOST:
                return self.backward(batch, scale)
            self._recorded[key] = _record(self.backward, self.parameters, batch, scale)
        return self._recorded[key].replay(batch)


@dataclass(frozen=True, slots=True)
class _Recording:
    """One graph with the memory it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, batch: Batch) -> Tensor:
        for name, tensor in _tensors(batch):
            getattr(self.inputs, name).copy_(tensor, non_blocking=True)
        # a replay writes its gradients over those of the last one, which may not have been used up yet
        earlier = [None if parameter.grad is None else parameter.grad.clone() for parameter, _ in self.gradients]
        self.graph.replay()
        for (parameter, gradient), before in zip(self.gradients, earlier, strict=True):
            parameter.grad = gradient if before is None else before + gradient
        return self.loss.clone()


def check_graphs(device: torch.device, dtype: torch.dtype) -> None:
    """Raise `DeviceError` where steps cannot be replayed: off CUDA, and in float16, whose loss scale changes."""
    if device.type != "cuda":
        raise DeviceError("`cuda_graph` works on CUDA only", hint="leave it out, or add `--device cuda`")
    if dtype == torch.float16:
        raise DeviceError("`cuda_graph` does not go with float16", hint="use `--dtype bf16`")


def _record(backward: Backward, parameters: Iterable[nn.Parameter], batch: Batch, scale: float) -> _Recording:
    inputs = replace(batch, **{name: tensor.clone() for name, tensor in _tensors(batch)})
    trained = list(parameters)
    earlier = [parameter.grad for parameter in trained]
    _put(trained, [None] * len(trained))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            backward(inputs, scale)
            _put(trained, [None] * len(trained))
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = backward(inputs, scale)
    gradients = [(parameter, parameter.grad) for parameter in trained if parameter.grad is not None]
    _put(trained, earlier)
    return _Recording(graph, inputs, loss, gradients)


def _tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    """List what a batch holds; what only SDXL is told is absent elsewhere."""
    held = ((name, getattr(batch, name)) for name in TENSORS)
    return [(name, tensor) for name, tensor in held if tensor is not None]


def _put(parameters: list[nn.Parameter], gradients: list[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
