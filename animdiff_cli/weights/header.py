"""Read and validate the header of a safetensors file, before any tensor data is read.

Format: header length in 8 bytes, the header as JSON, then the tensors without gaps.
https://huggingface.co/docs/safetensors/index#format
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from animdiff_cli.errors import IntegrityError
from animdiff_cli.files.untrusted import parse_json

#: the limit of the safetensors library
MAX_HEADER_BYTES = 100_000_000
METADATA = "__metadata__"
#: bytes per element
DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a file: safetensors dtype, shape, and offset of its first byte from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Header:
    """Tensors and metadata of a safetensors file."""

    tensors: Mapping[str, TensorSpec]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read and validate a header, in time independent of the file size.

    Raises `IntegrityError` unless the tensors fill the file exactly, without overlaps or gaps.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            _refuse(path, f"its header claims {length} bytes, the file has {size}")
        if length > MAX_HEADER_BYTES:
            _refuse(path, f"its header claims {length} bytes, above the limit of {MAX_HEADER_BYTES}")
        text = file.read(length)
    entries = _parse(text, path)
    metadata = _metadata(entries.pop(METADATA, {}), path)
    base = 8 + length
    tensors = {name: _spec(name, entry, base, path) for name, entry in entries.items()}
    _check_filled(tensors, base, size, path)
    return Header(tensors, metadata)


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        entries = parse_json(text.decode("utf-8"), object_pairs_hook=lambda pairs: _unique(pairs, path))
        if b"\\u" in text:
            json.dumps(entries, ensure_ascii=False).encode()  # escapes of lone surrogates are no text
    except ValueError as error:
        _refuse(path, f"its header is not JSON: {str(error)[:80]}")
    if not isinstance(entries, dict):
        _refuse(path, "its header is not a JSON object")
    return entries


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        _refuse(path, "a tensor name appears twice in its header")
    return table


def _metadata(entry: object, path: Path) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        _refuse(path, "its metadata values are not strings")
    return entry


def _spec(name: str, entry: object, base: int, path: Path) -> TensorSpec:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"`{name[:80]}` does not have the fields dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        _refuse(path, f"`{name[:80]}` has the unknown dtype {str(dtype)[:20]}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        _refuse(path, f"`{name[:80]}` has an invalid shape or invalid offsets")
    spec = TensorSpec(dtype, tuple(shape), base + offsets[0])
    if offsets[1] - offsets[0] != spec.nbytes:
        _refuse(path, f"`{name[:80]}` has offsets that do not match its shape")
    return spec


def _naturals(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_filled(tensors: Mapping[str, TensorSpec], base: int, size: int, path: Path) -> None:
    end = base
    for name, spec in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if spec.start != end:
            _refuse(path, f"`{name[:80]}` {'overlaps another tensor' if spec.start < end else 'leaves a gap'}")
        end += spec.nbytes
    if end != size:
        _refuse(path, f"its tensors end at byte {end}, the file at {size}")


def _refuse(path: Path, why: str) -> NoReturn:
    raise IntegrityError(
        f"{path.name} is not a valid safetensors file: {why}", hint="get the file again: it may be truncated or corrupt"
    )
