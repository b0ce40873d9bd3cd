"""The only code that opens weight files: whole for those who load, lazily for those who look or stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from animdiff_cli.errors import IntegrityError, NotFound
from animdiff_cli.weights.header import TensorSpec, read_header
from animdiff_cli.weights.lazy import LazyTensor, StoredRows, dtype_name, wrap_tensor

if TYPE_CHECKING:  # torch is imported by what reads numbers, and headers hold none
    from torch import Tensor

_REFUSED = "the download was refused: get it with `animdiff fetch`, which sends your token"
#: what a download that went wrong leaves under the name of a weight file: how it begins, what it is, what to do
PRETENDERS = (
    (b"<!doctype", "a web page", _REFUSED),
    (b"<html", "a web page", _REFUSED),
    (b'{"', "an answer of a web site", _REFUSED),
    (b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` in the repository, or `animdiff fetch` it"),
)
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A weight file or folder, looked at and not yet read."""

    path: Path
    container: str
    tensors: Mapping[str, LazyTensor]
    metadata: Mapping[str, str]
    others: tuple[str, ...] = ()  # entries of a pickle that are no tensors


def open_weights(path: Path) -> WeightFile:
    """Open a file for looking and streaming; of a safetensors file only the header is read.

    Raises `NotFound` if there is no such file, `IntegrityError` if it is damaged or unsafe.
    """
    _require(path)
    if is_pickle(path):
        return _open_pickle(path)
    header = read_header(path)
    tensors = {key: _lazy(path, spec) for key, spec in header.tensors.items()}
    return WeightFile(path, "safetensors", tensors, header.metadata)


def _open_pickle(path: Path) -> WeightFile:
    """Describe a pickle. Zips keep their tensors in one piece each, read when asked for like those of safetensors."""
    from animdiff_cli.weights.pickles import place, read_pickle

    pickled = read_pickle(path, described=True)
    places = {key: place(tensor) if pickled.is_zip else None for key, tensor in pickled.tensors.items()}
    if pickled.is_zip and None in places.values():
        pickled = read_pickle(path)
        places = dict.fromkeys(pickled.tensors)
    tensors = {key: _placed(path, tensor, places[key]) for key, tensor in pickled.tensors.items()}
    container = "torch pickle (zip)" if pickled.is_zip else "torch pickle (legacy)"
    return WeightFile(path, container, tensors, {}, pickled.others)


def _placed(path: Path, tensor: Tensor, start: int | None) -> LazyTensor:
    if start is None:
        return wrap_tensor(tensor)
    return _lazy(path, TensorSpec(dtype_name(tensor.dtype), tuple(tensor.shape), start))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a `.safetensors` or pickle file onto the CPU, unwrapped from `state_dict` and the like.

    Raises `NotFound` if there is no such file, `IntegrityError` if it is damaged, unsafe or holds no tensors.
    """
    _require(path)
    if is_pickle(path):
        from animdiff_cli.weights.pickles import read_pickle

        return read_pickle(path).tensors
    read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise IntegrityError(
            f"{path.name} is not a whole safetensors file: {error}", hint="get the file again: it may be cut short"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read a safetensors file's own metadata; other containers have none."""
    return {} if is_pickle(path) else dict(read_header(path).metadata)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: beside its target first, then renamed, so that the target is always whole."""
    from animdiff_cli.weights.stream import write_safetensors

    write_safetensors({key: wrap_tensor(tensor) for key, tensor in tensors.items()}, path, metadata)


def is_pickle(path: Path) -> bool:
    """Tell by the name alone which reader a file needs."""
    return path.suffix.lower() in PICKLE_SUFFIXES


def _require(path: Path) -> None:
    if not path.is_file():
        raise NotFound(f"no weight file at {path}", hint=f"check the path: `ls {path.parent}`")
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    for sign, what, remedy in PRETENDERS:
        if start.startswith(sign):
            raise IntegrityError(f"{path.name} is {what}, not weights", hint=remedy)


def _lazy(path: Path, spec: TensorSpec) -> LazyTensor:
    return LazyTensor(spec.dtype, spec.shape, StoredRows(path, spec.start, spec.dtype, spec.shape))
