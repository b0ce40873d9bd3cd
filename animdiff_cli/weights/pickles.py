"""Read torch pickles, zip and legacy, safely: tensors only, and no more data than the size of the file."""

import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError

#: keys under which checkpoints nest their weights, in order of precedence
WRAPPERS = ("state_dict", "controlnet", "model", "module")
#: tensors may share storage (tied weights), so their total size may exceed the file size by at most this factor
MAX_SHARING = 4
#: in torch's error messages for pickles with code; damaged files give other messages
CODE = ("GLOBAL", "Unsupported class", "unrecognized function")
_SAFETENSORS_HINT = "ask its author for a .safetensors file"


@dataclass(frozen=True, slots=True)
class Pickled:
    """The tensors of a pickle by dotted name, and the names of its other entries."""

    tensors: dict[str, Tensor]
    others: tuple[str, ...]
    is_zip: bool


def read_pickle(path: Path, *, meta: bool = False) -> Pickled:
    """Read a `.ckpt`, `.pt`, `.pth` or `.bin`. Wrappers such as `state_dict` are removed; zips are memory-mapped.

    `meta`: create the tensors of zips on torch's `meta` device; `file_offset` returns where their data is.
    Raises `IntegrityError` if the file has code, is damaged, is larger when unpacked, or has no tensors.
    """
    zipped = is_zip(path)
    if zipped:
        _check_zip(path)
    entries = dict(_flatten(_unwrap(_load(path, zipped, "meta" if meta and zipped else "cpu"))))
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise IntegrityError(f"{path.name} has no tensors", hint="this is not a weight file")
    _check_size(tensors, path)
    return Pickled(tensors, tuple(key for key in entries if key not in tensors), zipped)


def is_zip(path: Path) -> bool:
    """Return whether the container is a zip, torch's format since 1.6."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def file_offset(tensor: Tensor) -> int | None:
    """Return the offset of a `meta` tensor's data in its file; None if the data is not contiguous."""
    start: int | None = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if start is None or not tensor.is_contiguous():
        return None
    return start + int(tensor.storage_offset()) * tensor.element_size()


def _load(path: Path, zipped: bool, device: str) -> object:
    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=zipped and device == "cpu")
    except pickle.UnpicklingError as error:
        if any(word in str(error) for word in CODE):
            raise IntegrityError(
                f"{path.name} holds more than tensors, and loading it could run code: refused", hint=_SAFETENSORS_HINT
            ) from error
        _unreadable(path, error)
    except Exception as error:  # torch raises arbitrary exceptions for damaged files
        _unreadable(path, error)


def _check_zip(path: Path) -> None:
    """Raise `IntegrityError` for compressed zips: torch does not compress, and unpacking could exhaust memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            compressed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        _unreadable(path, error)
    if compressed or unpacked > path.stat().st_size:
        raise IntegrityError(
            f"{path.name} has {path.stat().st_size} bytes and would unpack to {unpacked}: refused",
            hint=_SAFETENSORS_HINT,
        )


def _check_size(tensors: dict[str, Tensor], path: Path) -> None:
    if odd := next((key for key, tensor in tensors.items() if tensor.layout != torch.strided), None):
        raise IntegrityError(f"{path.name}: `{odd}` is a sparse tensor, which is not supported")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > MAX_SHARING * path.stat().st_size:
        raise IntegrityError(
            f"{path.name} has {path.stat().st_size} bytes and claims tensors of {claimed}: refused",
            hint=_SAFETENSORS_HINT,
        )


def _unwrap(loaded: object) -> object:
    while isinstance(loaded, dict):
        inner = next((loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), dict)), None)
        if inner is None:
            return loaded
        loaded = inner
    return {}


def _flatten(entry: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested entries under dotted names, as in safetensors files of the same weights."""
    if not isinstance(entry, dict):
        yield prefix, entry
        return
    for key, value in entry.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))


def _unreadable(path: Path, error: Exception) -> NoReturn:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    raise IntegrityError(
        f"{path.name} is not a readable torch file: {reason}", hint="download it again: it may be truncated"
    ) from error
