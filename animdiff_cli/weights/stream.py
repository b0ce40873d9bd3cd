"""Write safetensors files a few rows at a time, atomically."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.weights.header import DTYPE_BYTES, METADATA
from animdiff_cli.weights.lazy import LazyTensor, torch_dtype

#: bytes that are read, cast and written at once
CHUNK_BYTES = 8 << 20


def write_safetensors(tensors: Mapping[str, LazyTensor], path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Write `tensors` to `path`, replacing an existing file. Memory use is a few chunks.

    Returns the names of tensors with NaN or infinite values. Raises `UsageError` if `path` cannot be written.
    """
    # widest dtype first, as the safetensors library does, so that every tensor is aligned
    ordered = dict(sorted(tensors.items(), key=lambda item: (-DTYPE_BYTES[item[1].dtype], item[0])))
    with readable_output_failures(path, "-o"), atomic_write(path, sync=True) as hidden, hidden.open("wb") as file:
        file.write(_header(ordered, metadata))
        return tuple(name for name, tensor in ordered.items() if not _write_rows(tensor, file))


def row_chunks(tensor: LazyTensor, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, int]]:
    """Split a tensor's rows into ranges of about `chunk_bytes` bytes, at least one row each.

    >>> list(row_chunks(LazyTensor("F32", (5, 2), lambda start, stop: ...), 16))
    [(0, 2), (2, 4), (4, 5)]
    """
    row_bytes = tensor.numel * DTYPE_BYTES[tensor.dtype] // max(tensor.num_rows, 1)
    step = max(chunk_bytes // max(row_bytes, 1), 1)
    for start in range(0, tensor.num_rows if tensor.numel else 0, step):
        yield start, min(start + step, tensor.num_rows)


def _header(tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel * DTYPE_BYTES[tensor.dtype]
        table[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_rows(tensor: LazyTensor, file: BinaryIO) -> bool:
    """Write one tensor. Returns whether all its values are finite."""
    import torch  # imported late: reading headers imports this module too

    is_float = torch_dtype(tensor.dtype).is_floating_point and DTYPE_BYTES[tensor.dtype] > 1
    finite = True
    for start, stop in row_chunks(tensor):
        rows = tensor.rows(start, stop).to(torch_dtype(tensor.dtype)).contiguous()
        finite = finite and not (is_float and not bool(rows.isfinite().all()))
        file.write(rows.flatten().view(torch.uint8).numpy().data)
    return finite
