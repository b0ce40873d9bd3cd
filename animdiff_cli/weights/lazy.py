"""Tensors that are read on demand, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.header import DTYPE_BYTES

if TYPE_CHECKING:  # importing torch takes seconds, and reading headers does not need it
    import torch
    from torch import Tensor

#: safetensors dtype → torch dtype
TORCH_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}
#: value of `--dtype` → safetensors dtype
FLOATS = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}

Rows = Callable[[int, int], "Tensor"]


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """Shape and dtype of a tensor, and a function that reads rows `[start, stop)` of its first dimension.

    The rows of computed tensors are float32 whatever `dtype` is: they are rounded once, when they are read or written.
    """

    dtype: str
    shape: tuple[int, ...]
    rows: Rows

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def num_rows(self) -> int:
        """Size of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    def read(self) -> Tensor:
        """Read the whole tensor."""
        return self.rows(0, self.num_rows).reshape(self.shape).to(torch_dtype(self.dtype))

    def cast(self, dtype: str) -> LazyTensor:
        """Cast a floating-point tensor to `dtype`. Integer and boolean tensors are returned unchanged."""
        target = torch_dtype(dtype)
        if dtype == self.dtype or not torch_dtype(self.dtype).is_floating_point:
            return self
        return replace(self, dtype=dtype, rows=lambda start, stop: self.rows(start, stop).to(target))

    def reshape(self, *shape: int) -> LazyTensor:
        """View as a shape with the same first dimension, such as a 1×1 convolution as a matrix."""
        if prod(shape) != self.numel or shape[0] != self.num_rows:
            raise ValueError(f"cannot view {self.shape} as {shape}: the first dimension must stay the same")
        if isinstance(self.rows, StoredRows):
            return replace(self, shape=shape, rows=replace(self.rows, shape=shape))
        return replace(self, shape=shape, rows=lambda start, stop: self.rows(start, stop).reshape(-1, *shape[1:]))

    def slice(self, start: int, stop: int) -> LazyTensor:
        """Return rows `[start, stop)` as a tensor."""
        shape = (stop - start, *self.shape[1:])
        if isinstance(self.rows, StoredRows):
            first_byte = self.rows.start + start * self.rows.row_bytes
            return replace(self, shape=shape, rows=replace(self.rows, start=first_byte, shape=shape))
        return replace(self, shape=shape, rows=lambda first, last: self.rows(start + first, start + last))

    def transposed(self) -> LazyTensor:
        """Transpose a matrix. Reading any of its rows reads the whole tensor."""
        height, width = self.shape
        return replace(self, shape=(width, height), rows=lambda start, stop: self._exact().T[start:stop])

    def _exact(self) -> Tensor:
        return self.rows(0, self.num_rows).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Row-major tensor data in a file. Callers that want the whole tensor can read its bytes directly."""

    path: Path
    start: int  # first byte, from the start of the file
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Size of one row; a scalar is one row."""
        return prod(self.shape[1:]) * DTYPE_BYTES[self.dtype]

    def __call__(self, start: int, stop: int) -> Tensor:
        """Read rows `[start, stop)`. Not memory-mapped: the pages of a mapping stay resident until it is closed."""
        import torch

        shape, dtype = (stop - start, *self.shape[1:]), torch_dtype(self.dtype)
        buffer = bytearray((stop - start) * self.row_bytes)
        if not buffer:
            return torch.empty(shape, dtype=dtype)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start + start * self.row_bytes)
            self.fill(buffer, file)
        return torch.frombuffer(buffer, dtype=dtype).reshape(shape)

    def fill(self, buffer: bytearray | memoryview, file: FileIO) -> None:
        """Read from the open file until `buffer` is full. Raises `IntegrityError` if the file is too short."""
        left = memoryview(buffer)
        while left:
            read = file.readinto(left)
            if not read:
                raise IntegrityError(f"{self.path.name} changed while it was read", hint="run the command again")
            left = left[read:]


def torch_dtype(name: str) -> torch.dtype:
    """Convert a safetensors dtype to torch's."""
    import torch

    dtype: torch.dtype = getattr(torch, TORCH_NAMES[name])
    return dtype


def is_float(name: str) -> bool:
    """Return whether a safetensors dtype is floating-point."""
    return name.startswith(("F", "BF"))


def dtype_name(dtype: torch.dtype) -> str:
    """Convert a torch dtype to safetensors' name."""
    name = str(dtype).removeprefix("torch.")
    return next(own for own, torch_name in TORCH_NAMES.items() if torch_name == name)


def wrap_tensor(tensor: Tensor) -> LazyTensor:
    """Wrap a tensor in memory."""
    flat = tensor.detach()
    rows = flat if flat.dim() else flat.reshape(1)
    return LazyTensor(dtype_name(tensor.dtype), tuple(tensor.shape), lambda start, stop: rows[start:stop])


def concat_rows(parts: Sequence[LazyTensor]) -> LazyTensor:
    """Concatenate tensors along their first dimension."""
    import torch

    ends = list(accumulate(part.num_rows for part in parts))

    def rows(start: int, stop: int) -> Tensor:
        pieces = []
        for part, end in zip(parts, ends, strict=True):
            begin = end - part.num_rows
            first, last = max(start, begin), min(stop, end)
            if first < last:
                pieces.append(part.rows(first - begin, last - begin))
        return torch.cat(pieces)

    return LazyTensor(parts[0].dtype, (ends[-1], *parts[0].shape[1:]), rows)
