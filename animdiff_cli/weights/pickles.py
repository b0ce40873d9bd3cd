"""Torch's pickled files, both containers: read as tensors and nothing else, never unpacked beyond what they weigh."""

import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError

#: names under which checkpoints wrap their weights, looked for in this order
WRAPPERS = ("state_dict", "controlnet", "model", "module")
#: tensors may share storage (tied weights), so they may add up to more than the file; not to much more
MAX_SHARING = 4
#: how torch says that a pickle wanted to do more than hold tensors; damaged bytes are answered otherwise
CODE = ("GLOBAL", "Unsupported class", "unrecognized function")
_SAFETENSORS_HINT = "ask its author for a .safetensors file"


@dataclass(frozen=True, slots=True)
class Pickled:
    """The tensors of a pickle by dotted name, and the entries beside them that are no tensors."""

    tensors: dict[str, Tensor]
    others: tuple[str, ...]
    is_zip: bool


def read_pickle(path: Path, *, described: bool = False) -> Pickled:
    """Read a `.ckpt`, `.pt`, `.pth` or `.bin`, unwrapped from `state_dict` and the like. Zips are memory-mapped.

    `described`: tensors of zips are only described, on torch's `meta` device; `place` tells where their numbers are.
    Raises `IntegrityError` if the file holds code, is damaged, claims more than it weighs, or has no tensors.
    """
    zipped = is_zip(path)
    if zipped:
        _check_zip(path)
    entries = dict(_flatten(_unwrap(_load(path, zipped, "meta" if described and zipped else "cpu"))))
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise IntegrityError(f"{path.name} holds no tensors", hint="this is not a weight file")
    _check_weight(tensors, path)
    return Pickled(tensors, tuple(key for key in entries if key not in tensors), zipped)


def is_zip(path: Path) -> bool:
    """Tell torch's container since 1.6 from the older one."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def place(tensor: Tensor) -> int | None:
    """Find the first byte of a described tensor in its file; None if it does not lie there in one piece."""
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
                f"{path.name} holds more than tensors, and opening it could run code: refused", hint=_SAFETENSORS_HINT
            ) from error
        _unreadable(path, error)
    except Exception as error:  # damaged bytes make torch's reader fail in any way whatsoever
        _unreadable(path, error)


def _check_zip(path: Path) -> None:
    """Torch stores without compressing, so a file that would unpack to more than it weighs is no torch file."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            compressed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        _unreadable(path, error)
    if compressed or unpacked > path.stat().st_size:
        raise IntegrityError(
            f"{path.name} would unpack to {unpacked} bytes and weighs {path.stat().st_size}: refused",
            hint=_SAFETENSORS_HINT,
        )


def _check_weight(tensors: dict[str, Tensor], path: Path) -> None:
    if odd := next((key for key, tensor in tensors.items() if tensor.layout != torch.strided), None):
        raise IntegrityError(f"{path.name}: `{odd}` is a sparse tensor, which no weight file here has")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > MAX_SHARING * path.stat().st_size:
        raise IntegrityError(
            f"{path.name} weighs {path.stat().st_size} bytes and claims tensors of {claimed}: refused",
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
    """Name nested entries by their path, as safetensors files of the same weights do."""
    if not isinstance(entry, dict):
        yield prefix, entry
        return
    for key, value in entry.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))


def _unreadable(path: Path, error: Exception) -> NoReturn:
    said = (str(error).splitlines() or [type(error).__name__])[0][:120]
    raise IntegrityError(
        f"{path.name} is not a readable torch file: {said}", hint="get the file again: it may be cut short"
    ) from error
