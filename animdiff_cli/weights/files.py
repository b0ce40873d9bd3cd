"""Open weight files lazily, or read them whole into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from animdiff_cli.errors import IntegrityError, NotFound
from animdiff_cli.weights.header import TensorSpec, read_header
from animdiff_cli.weights.lazy import LazyTensor, StoredRows, dtype_name, wrap_tensor

if TYPE_CHECKING:  # importing torch takes seconds, and reading headers does not need it
    from torch import Tensor

_REFUSED = "the download was refused: use `animdiff fetch`, which sends your token"
#: what failed downloads save as a weight file: first bytes, what it is, hint
FAILED_DOWNLOADS = (
    (b"<!doctype", "a web page", _REFUSED),
    (b"<html", "a web page", _REFUSED),
    (b'{"', "a JSON response of a web site", _REFUSED),
    (b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` in the repository, or `animdiff fetch` it"),
)
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """An open weight file or folder. Tensors are read on demand."""

    path: Path
    container: str
    tensors: Mapping[str, LazyTensor]
    metadata: Mapping[str, str]
    others: tuple[str, ...] = ()  # names of pickle entries that are not tensors


def open_weights(path: Path) -> WeightFile:
    """Open a file without reading its tensors; of a safetensors file only the header is read.

    Raises `NotFound` if the file does not exist, `IntegrityError` if it is damaged or unsafe.
    """
    _check_file(path)
    if is_pickle(path):
        return _open_pickle(path)
    header = read_header(path)
    tensors = {key: _lazy(path, spec) for key, spec in header.tensors.items()}
    return WeightFile(path, "safetensors", tensors, header.metadata)


def _open_pickle(path: Path) -> WeightFile:
    """Open a pickle. Tensors of zip containers are contiguous in the file and read on demand, as in safetensors."""
    from animdiff_cli.weights.pickles import file_offset, read_pickle

    pickled = read_pickle(path, meta=True)
    offsets = {key: file_offset(tensor) if pickled.is_zip else None for key, tensor in pickled.tensors.items()}
    if pickled.is_zip and None in offsets.values():
        pickled = read_pickle(path)
        offsets = dict.fromkeys(pickled.tensors)
    tensors = {key: _pickled_tensor(path, tensor, offsets[key]) for key, tensor in pickled.tensors.items()}
    container = "torch pickle (zip)" if pickled.is_zip else "torch pickle (legacy)"
    return WeightFile(path, container, tensors, {}, pickled.others)


def _pickled_tensor(path: Path, tensor: Tensor, start: int | None) -> LazyTensor:
    if start is None:
        return wrap_tensor(tensor)
    return _lazy(path, TensorSpec(dtype_name(tensor.dtype), tuple(tensor.shape), start))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a file onto the CPU. Wrappers such as `state_dict` are removed.

    Raises `NotFound` if the file does not exist, `IntegrityError` if it is damaged, unsafe or has no tensors.
    """
    _check_file(path)
    if is_pickle(path):
        from animdiff_cli.weights.pickles import read_pickle

        return read_pickle(path).tensors
    read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise IntegrityError(
            f"{path.name} is not a valid safetensors file: {error}", hint="download it again: it may be truncated"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file. Returns an empty dict for pickles."""
    return {} if is_pickle(path) else dict(read_header(path).metadata)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically."""
    from animdiff_cli.weights.stream import write_safetensors

    write_safetensors({key: wrap_tensor(tensor) for key, tensor in tensors.items()}, path, metadata)


def is_pickle(path: Path) -> bool:
    """Return whether the file name has a suffix of torch pickles."""
    return path.suffix.lower() in PICKLE_SUFFIXES


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise NotFound(f"no weight file at {path}", hint=f"check the path: `ls {path.parent}`")
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    for prefix, what, hint in FAILED_DOWNLOADS:
        if start.startswith(prefix):
            raise IntegrityError(f"{path.name} is {what}, not weights", hint=hint)


def _lazy(path: Path, spec: TensorSpec) -> LazyTensor:
    return LazyTensor(spec.dtype, spec.shape, StoredRows(path, spec.start, spec.dtype, spec.shape))
