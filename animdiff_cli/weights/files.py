"""Open weight files lazily, or read them whole into memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.errors import AnimdiffError, IntegrityError, NotFound
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.weights.header import MAX_HEADER_BYTES, read_header
from animdiff_cli.weights.lazy import LazyTensor, StoredRows, wrap_tensor

if TYPE_CHECKING:  # importing torch takes seconds, and reading headers does not need it
    from torch import Tensor

_REFUSED = "the download was refused: use `animdiff fetch`, which sends your token"
_UNPACK = "unpack it, and name a file of it"
#: files that are saved or named as weights by mistake: first bytes, what it is, hint
NOT_WEIGHTS: tuple[tuple[bytes, str, str | None], ...] = (
    (b"<!doctype", "a web page", _REFUSED),
    (b"<html", "a web page", _REFUSED),
    (b"<?xml", "an XML response of a web site", _REFUSED),
    (b"<", "a web page", _REFUSED),
    (b"{", "a JSON response of a web site", _REFUSED),
    (b"[", "a JSON response of a web site", _REFUSED),
    (b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` in the repository, or `animdiff fetch` it"),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"rar!", "a RAR archive", _UNPACK),
    (b"gguf", "a GGUF file", "use a .safetensors file of the same model"),
    (b"\x89hdf", "an HDF5 file", "use a .safetensors file of the same model"),
    (b"\x89png", "a picture", None),
    (b"\xff\xd8\xff", "a picture", None),
    (b"gif8", "a picture", None),
    (b"riff", "a picture or a sound", None),
)
#: blocks and layers have three digits at most; loops over four would take long
_LONG_NUMBER = re.compile(r"(?:^|[._])\d{4,}[._]|[._]\d{4,}$")
MAX_NAME = 1000
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
    if is_pickle(path):
        from animdiff_cli.weights.pickles import read_pickle

        pickled = read_pickle(path)
        _check_names(pickled.tensors, path)
        container = "torch pickle (zip)" if pickled.is_zip else "torch pickle (legacy)"
        return WeightFile(path, container, pickled.tensors, {}, pickled.others)
    header = read_header(path)
    _check_names(header.tensors, path)
    tensors = {
        key: LazyTensor(spec.dtype, spec.shape, StoredRows(path, spec.start, spec.dtype, spec.shape))
        for key, spec in header.tensors.items()
    }
    return WeightFile(path, "safetensors", tensors, header.metadata)


def _check_names(names: Iterable[str], path: Path) -> None:
    for name in names:
        if len(name) > MAX_NAME or _LONG_NUMBER.search(name) or re.search("[\ud800-\udfff]", name):
            raise IntegrityError(
                f"{path.name} has the tensor `{name[:80]}`, whose name no network has", hint="this is not a weight file"
            )


@contextmanager
def refuse_unusable(source: str) -> Iterator[None]:
    """Raise `IntegrityError` where names, shapes, dtypes or configs of a file make a library or a computation fail."""
    try:
        yield
    except AnimdiffError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError, AssertionError) as error:
        if "out of memory" in str(error):  # torch's errors have no common class
            raise
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise IntegrityError(
            f"{source} has names or shapes that no such file has: {reason}",
            hint="get the file again: it may be truncated or corrupt",
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a file onto the CPU. Wrappers such as `state_dict` are removed.

    Raises `NotFound` if the file does not exist, `IntegrityError` if it is damaged, unsafe or has no tensors.
    """
    return {key: tensor.read() for key, tensor in open_weights(path).tensors.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file. Returns an empty dict for pickles."""
    return {} if is_pickle(path) else dict(read_header(path).metadata)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically."""
    from animdiff_cli.weights.stream import write_safetensors

    write_safetensors({key: wrap_tensor(tensor) for key, tensor in tensors.items()}, path, metadata)


def config_beside(file: WeightFile, key: str, value: str) -> dict[str, Any]:
    """Return the `config.json` beside weights, or in their folder, in which `key` is `value`; empty if there is none.

    Raises `IntegrityError` if it is not JSON.
    """
    path = (file.path if file.path.is_dir() else file.path.parent) / "config.json"
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="download it again") from error
    return config if isinstance(config, dict) and config.get(key) == value else {}


def is_pickle(path: Path) -> bool:
    """Return whether a file is a torch pickle, and not safetensors, by its first bytes; if unclear, by its name.

    Raises `NotFound` if it does not exist, `IntegrityError` if it is a file of another kind, such as a web page.
    """
    if not path.is_file():
        raise NotFound(f"no weight file at {path}", hint=f"check the path: `ls {path.parent}`")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}", hint=f"check the path: `ls -l {path}`") from error
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES:
        return False
    if start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")):
        return True
    if not start:
        raise IntegrityError(f"{path.name} is empty", hint="download it again")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    tar = ((b"ustar", "a tar archive", _UNPACK),) if start[257:262] == b"ustar" else ()
    for prefix, what, hint in (*NOT_WEIGHTS, *tar):
        if text.startswith(prefix) or prefix == start[257:262]:
            raise IntegrityError(f"{path.name} is {what}, not weights", hint=hint)
    return path.suffix.lower() in PICKLE_SUFFIXES
