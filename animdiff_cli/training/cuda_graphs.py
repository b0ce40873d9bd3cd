"""Record a step's forward and backward pass as a CUDA graph per batch shape, then replay it.

The thousands of kernels of a small model take longer to launch than to run; a graph launches all of them at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor, nn

from animdiff_cli.errors import DeviceError
from animdiff_cli.training.data.batches import Batch

Backward = Callable[[Batch, float], Tensor]

WARM_UP = 3  # passes before recording, in which libraries choose their kernels
MAX_GRAPHS = 8  # batches of further shapes run without a graph


@dataclass(slots=True)
class CudaGraphs:
    """Replay `backward`, whose loss and gradients must depend only on batch, scale and `parameters`.

    Gradients are added to those of the parameters, as a backward pass does.
    """

    backward: Backward
    parameters: list[nn.Parameter]
    _recorded: dict[tuple[object, ...], "_Recording"] = field(default_factory=dict)

    def __call__(self, batch: Batch, scale: float) -> Tensor:
        """Return the detached loss of the batch; add its gradients, times `scale`, to the parameters' gradients."""
        key = (*((name, tuple(tensor.shape)) for name, tensor in _tensors(batch)), batch.mask_spatial, scale)
        if key not in self._recorded:
            if len(self._recorded) == MAX_GRAPHS:
                return self.backward(batch, scale)
            self._recorded[key] = _record(self.backward, self.parameters, batch, scale)
        return self._recorded[key].replay(batch)


@dataclass(frozen=True, slots=True)
class _Recording:
    """One graph with its input and output memory."""

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, batch: Batch) -> Tensor:
        for name, tensor in _tensors(batch):
            getattr(self.inputs, name).copy_(tensor, non_blocking=True)
        # a replay overwrites the gradients of the last one, which may not have been used yet
        previous = [None if parameter.grad is None else parameter.grad.clone() for parameter, _ in self.gradients]
        self.graph.replay()
        for (parameter, gradient), before in zip(self.gradients, previous, strict=True):
            parameter.grad = gradient if before is None else before + gradient
        return self.loss.clone()


def check_cuda_graphs(device: torch.device, dtype: torch.dtype) -> None:
    """Raise `DeviceError` if steps cannot be replayed: outside CUDA, and in float16, whose loss scale changes."""
    if device.type != "cuda":
        raise DeviceError("`cuda_graph` needs CUDA", hint="leave it out, or add `--device cuda`")
    if dtype == torch.float16:
        raise DeviceError("`cuda_graph` does not support float16", hint="use `--dtype bf16`")


def _record(backward: Backward, parameters: Iterable[nn.Parameter], batch: Batch, scale: float) -> _Recording:
    inputs = _cloned(batch)
    trained = list(parameters)
    previous = [parameter.grad for parameter in trained]
    _set_gradients(trained, [None] * len(trained))
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves its constructor untyped
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            backward(inputs, scale)
            _set_gradients(trained, [None] * len(trained))
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = backward(inputs, scale)
    gradients = [(parameter, parameter.grad) for parameter in trained if parameter.grad is not None]
    _set_gradients(trained, previous)
    return _Recording(graph, inputs, loss, gradients)


def _tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    """List the tensors of a batch by name; SDXL's are absent for other models."""
    values = ((item.name, getattr(batch, item.name)) for item in fields(batch))
    return [(name, value) for name, value in values if isinstance(value, Tensor)]


def _cloned(batch: Batch) -> Batch:
    return replace(
        batch,
        latents=batch.latents.clone(),
        noise=batch.noise.clone(),
        text=batch.text.clone(),
        timesteps=batch.timesteps.clone(),
        frame=batch.frame.clone(),
        pooled=None if batch.pooled is None else batch.pooled.clone(),
        sizes=None if batch.sizes is None else batch.sizes.clone(),
    )


def _set_gradients(parameters: list[nn.Parameter], gradients: list[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
