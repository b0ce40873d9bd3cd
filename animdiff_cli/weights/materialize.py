"""Weights from a file into memory: one copy, cast on the way, where kernels like it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from animdiff_cli.weights.header import DTYPE_BYTES
from animdiff_cli.weights.lazy import StoredRows, torch_dtype
from animdiff_cli.weights.stream import row_chunks

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from animdiff_cli.weights.lazy import LazyTensor

#: numbers read and cast at once: they stay in the cache of a core between the two. Of more than these torch makes work
#: for threads of its own, which wait for each other longer than the work takes
STAGED = 1 << 15
#: a file is read faster by two than by one, and no faster by more: the bound is memory that is touched first
READERS = 2


def materialize(
    tensors: Mapping[str, LazyTensor], dtype: torch.dtype, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Read tensors onto a device, floating-point numbers as `dtype`, counts and flags as they are.

    At no time is more in memory than what is returned and a few staging buffers; for another device than the CPU, two
    tensors besides. The memory is torch's own, which begins at a multiple of 64 bytes. Kernels round by where a tensor
    begins: weights mapped from a file, where they begin anywhere, would render other frames from one container than
    from another.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="weights") as pool:
        read = pool.map(lambda tensor: _read(tensor, dtype).to(device), tensors.values())
        return dict(zip(tensors, read, strict=True))


def _read(tensor: LazyTensor, dtype: torch.dtype) -> Tensor:
    import torch

    own = torch_dtype(tensor.dtype)
    target = torch.empty(tensor.shape, dtype=dtype if own.is_floating_point else own)
    if isinstance(tensor.rows, StoredRows):
        _take(tensor.rows, target.view(-1))
        return target
    rows = target if target.dim() else target.view(1)
    for start, stop in row_chunks(tensor, STAGED * DTYPE_BYTES[tensor.dtype]):
        _cast(tensor.rows(start, stop), rows[start:stop])
    return target


def _take(stored: StoredRows, target: Tensor) -> None:
    """Read a tensor's numbers from its file into `target`, one after another: without a copy if the format is kept."""
    import torch

    with stored.path.open("rb", buffering=0) as file:
        file.seek(stored.start)
        own = torch_dtype(stored.dtype)
        if own == target.dtype:
            stored.fill(_memory(target), file)
            return
        staging = torch.empty(min(STAGED, target.numel()), dtype=own)
        for start in range(0, target.numel(), STAGED):
            piece = target[start : start + STAGED]
            read = staging[: piece.numel()]
            stored.fill(_memory(read), file)
            _cast(read, piece)


def _cast(numbers: Tensor, target: Tensor) -> None:
    import torch

    # torch has no fast way between the two half precisions; over float32 it gives the same bits four times as fast
    halves = {numbers.dtype, target.dtype} == {torch.float16, torch.bfloat16}
    target.copy_(numbers.float() if halves else numbers)


def _memory(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in one piece on the CPU, to be written to."""
    import torch

    return tensor.view(torch.uint8).numpy().data
