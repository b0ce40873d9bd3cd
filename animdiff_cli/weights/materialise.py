"""Weights from a file into memory: one copy, cast on the way, where kernels like it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from animdiff_cli.weights.stream import stretches

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from animdiff_cli.weights.lazy import Lazy

#: read and cast at once: it stays in the cache of a core between the two, and its memory is used again
STAGING_BYTES = 1 << 17
#: a file is read faster by two than by one, and no faster by more: the bound is memory that is touched first
READERS = 2


def materialise(
    tensors: Mapping[str, Lazy], dtype: torch.dtype, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Read tensors onto a device, floating-point numbers as `dtype`, counts and flags as they are.

    At no time is more in memory than what is returned and a few staging buffers. The memory is torch's own, which
    begins at a multiple of 64 bytes. Kernels round by where a tensor begins: weights mapped from a file, where they
    begin anywhere, would render other frames from one container than from another.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="weights") as pool:
        read = pool.map(lambda tensor: _read(tensor, dtype, device), tensors.values())
        return dict(zip(tensors, read, strict=True))


def _read(tensor: Lazy, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    import torch

    from animdiff_cli.weights.lazy import torch_dtype

    own = torch_dtype(tensor.dtype)
    target = torch.empty(tensor.shape, dtype=dtype if own.is_floating_point else own, device=device)
    rows = target if target.dim() else target.reshape(1)
    for start, stop in stretches(tensor, STAGING_BYTES):
        read = tensor.rows(start, stop)
        # torch has no fast way between the two half precisions; over float32 it gives the same bits four times as fast
        halves = {read.dtype, target.dtype} == {torch.float16, torch.bfloat16}
        rows[start:stop].copy_(read.float() if halves else read)
    return target
