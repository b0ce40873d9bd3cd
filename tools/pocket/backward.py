"""Loss and gradients of one step: eager, or as a captured CUDA graph that is replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tools.pocket.loop import Stage

Backward = Callable[[], Tensor]

WARM_UP_STEPS = 4  # before capture, while libraries select kernels and compilers compile


def eager_backward(stage: Stage) -> Backward:
    """Return a function that draws a batch, accumulates its gradients on the weights and returns its detached loss."""

    def backward() -> Tensor:
        loss = stage.loss(*stage.draw())
        loss.backward()
        return loss.detach()

    return backward


def graphed_backward(stage: Stage) -> Backward:
    """Like `eager_backward`, but replay everything after drawing the batch as one CUDA graph.

    The thousands of kernels of a small model take longer to launch than to run. `stage.loss` must not synchronize
    with the device.
    """
    inputs = [tensor.clone() for tensor in stage.draw()]
    weights = [weight for module in stage.modules().values() for weight in module.parameters()]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            _clear(weights)
            stage.loss(*inputs).backward()
        _clear(weights)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = stage.loss(*inputs)
        loss.backward()
    gradients = [weight.grad for weight in weights]

    def backward() -> Tensor:
        for kept, drawn in zip(inputs, stage.draw(), strict=True):
            kept.copy_(drawn)
        graph.replay()
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return loss.detach()

    return backward


def _clear(weights: list[torch.nn.Parameter]) -> None:
    for weight in weights:
        weight.grad = None
