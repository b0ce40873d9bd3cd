"""Load lazy tensors into memory: cast while reading, aligned, without a second copy."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from animdiff_cli.weights.lazy import StoredRows, torch_dtype
from animdiff_cli.weights.stream import row_chunks

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from animdiff_cli.weights.lazy import LazyTensor

#: elements that are read and cast at once: they stay in a core's cache between the two. For more elements torch
#: starts threads, whose synchronization takes longer than the cast
STAGED = 1 << 15
#: bytes of computed tensors, such as merged ones, that are computed at once
COMPUTED = 64 << 20
#: two threads read faster than one; more do not, because page faults of fresh memory are the bottleneck
READERS = 2


def materialize(
    tensors: Mapping[str, LazyTensor], dtype: torch.dtype, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Read tensors onto a device, casting floating-point tensors to `dtype`.

    Peak memory is the result and a few staging buffers; for a device other than the CPU, two more tensors. The memory
    is allocated by torch, aligned to 64 bytes: CPU kernels round differently by alignment, so memory-mapped weights
    would render different frames from different containers.
    """
    names = list(tensors)
    shares = [names[first::READERS] for first in range(READERS)]  # a task for each tensor takes longer than reading it

    def read(share: list[str]) -> dict[str, Tensor]:
        return {name: _read(tensors[name], dtype).to(device) for name in share}

    with ThreadPoolExecutor(READERS, thread_name_prefix="weights") as pool:
        done = {name: tensor for part in pool.map(read, shares) for name, tensor in part.items()}
    return {name: done[name] for name in names}


def _read(tensor: LazyTensor, dtype: torch.dtype) -> Tensor:
    import torch

    own = torch_dtype(tensor.dtype)
    target = torch.empty(tensor.shape, dtype=dtype if own.is_floating_point else own)
    if isinstance(tensor.rows, StoredRows):
        _read_stored(tensor.rows, target.view(-1))
        return target
    rows = target if target.dim() else target.view(1)
    for start, stop in row_chunks(tensor, COMPUTED):
        _cast(tensor.rows(start, stop), rows[start:stop])
    return target


def _read_stored(stored: StoredRows, target: Tensor) -> None:
    """Read a tensor from its file into `target`; without a staging buffer if the dtype stays the same."""
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

    # between fp16 and bf16 torch has no fast kernel; via float32 the bits are equal and it is four times as fast
    halves = {numbers.dtype, target.dtype} == {torch.float16, torch.bfloat16}
    target.copy_(numbers.float() if halves else numbers)


def _memory(tensor: Tensor) -> memoryview:
    """Return a writable view of the bytes of a contiguous CPU tensor."""
    import torch

    return tensor.view(torch.uint8).numpy().data
