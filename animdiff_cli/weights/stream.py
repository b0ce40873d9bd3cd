"""Writes safetensors one stretch of rows at a time: the header first, then the tensors, whole or not at all."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.weights.header import DTYPE_BYTES, METADATA
from animdiff_cli.weights.lazy import LazyTensor, torch_dtype

#: read, cast and written at once; small beside any weight file, large beside a system call
CHUNK_BYTES = 8 << 20


def write_safetensors(tensors: Mapping[str, LazyTensor], path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Write `tensors` to `path`, replacing what is there; memory stays at a few stretches. Synced before it is renamed.

    Returns the names of tensors that hold NaN or infinity. Raises `UsageError` if the place cannot be written.
    """
    # widest numbers first, as the format's own writer does, so that every tensor is aligned to its numbers
    ordered = dict(sorted(tensors.items(), key=lambda item: (-DTYPE_BYTES[item[1].dtype], item[0])))
    with readable_output_failures(path, "-o"), atomic_write(path, sync=True) as hidden, hidden.open("wb") as file:
        file.write(_header(ordered, metadata))
        return tuple(name for name, tensor in ordered.items() if not _write_rows(tensor, file))


def row_chunks(tensor: LazyTensor, stretch_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, int]]:
    """Cut a tensor's rows into stretches of about so many bytes; at least a row each.

    >>> list(row_chunks(LazyTensor("F32", (5, 2), lambda start, stop: ...), 16))
    [(0, 2), (2, 4), (4, 5)]
    """
    row_bytes = tensor.numel * DTYPE_BYTES[tensor.dtype] // max(tensor.num_rows, 1)
    step = max(stretch_bytes // max(row_bytes, 1), 1)
    for start in range(0, tensor.num_rows if tensor.numel else 0, step):
        yield start, min(start + step, tensor.num_rows)


def _header(tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel * DTYPE_BYTES[tensor.dtype]
        table[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_rows(tensor: LazyTensor, file: BinaryIO) -> bool:
    """Write one tensor; returns whether all its numbers are finite."""
    import torch  # not at import: whoever looks at headers imports this too

    is_float = torch_dtype(tensor.dtype).is_floating_point and DTYPE_BYTES[tensor.dtype] > 1
    finite = True
    for start, stop in row_chunks(tensor):
        rows = tensor.rows(start, stop).contiguous()
        finite = finite and not (is_float and not bool(rows.isfinite().all()))
        file.write(rows.flatten().view(torch.uint8).numpy().data)
    return finite
