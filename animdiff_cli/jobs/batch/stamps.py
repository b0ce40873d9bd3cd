"""The stamp of an output: size and sha256, by which a later run knows whether the file is whole."""

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from animdiff_cli.files.hashing import sha256_of, sha256_of_files


class Stamp(BaseModel):
    """A finished output. `path` is relative to the output folder of the batch, with `/`."""

    model_config = ConfigDict(frozen=True)

    path: str
    sha256: str
    bytes: int


def stamp(folder: Path, name: str) -> Stamp:
    """Describe the output `name`, a file or a folder of frames, and flush it to the disk. Raises `OSError`."""
    path = folder / name
    for file in _files(path):
        _flush(file)
    _flush(path.parent)
    return Stamp(path=name, sha256=_sha256(path), bytes=_size(path))


def is_whole(folder: Path, recorded: Stamp) -> bool:
    """Return whether an output is there and has its recorded content. A wrong size is found without reading it."""
    path = folder / recorded.path
    try:
        return _size(path) == recorded.bytes and _sha256(path) == recorded.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    """Hash a file, or the names and hashes of all files of a folder."""
    if not path.is_dir():
        return sha256_of(path)
    listed = sorted(sha256_of_files(_files(path), path).items())
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in listed).encode()).hexdigest()


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    return [file for file in sorted(path.rglob("*")) if not file.is_dir()] if path.is_dir() else [path]


def _flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, so that a power failure does not lose them."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
