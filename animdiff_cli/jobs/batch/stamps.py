"""The stamp of an output: size and sha256, by which a later run knows whether the file is whole."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from animdiff_cli.files.hashing import sha256_of, sha256_of_files
from animdiff_cli.jobs.batch.mirror import Listing
from animdiff_cli.storage.inputs import local_copy
from animdiff_cli.storage.location import Location, RemotePath
from animdiff_cli.storage.objects import Stored, find, list_files


class Stamp(BaseModel):
    """A finished output. `path` is relative to the output folder of the batch, with `/`."""

    model_config = ConfigDict(frozen=True)

    path: str
    sha256: str
    bytes: int
    version: str | None = None  # on a storage system; changes when the file does


def stamp(folder: Location, name: str) -> Stamp:
    """Describe the output `name`, a file or a folder of frames, and flush it to the disk.

    On a storage system it is read once, which also shows that it was uploaded whole. Raises `OSError` for a local
    output, `AnimdiffError` for another one.
    """
    if isinstance(folder, RemotePath):
        with local_copy(folder / name) as copy:
            version = _version(name, list_below(folder, name))
            return Stamp(path=name, sha256=_sha256(copy), bytes=_size(copy), version=version)
    path = folder / name
    for file in _files(path):
        _flush(file)
    _flush(path.parent)
    return Stamp(path=name, sha256=_sha256(path), bytes=_size(path))


def is_whole(folder: Location, recorded: Stamp, listing: Listing | None = None) -> bool:
    """Return whether an output is there and has its recorded content. A wrong size is found without reading it.

    On a storage system, size and version are compared, and nothing is read. `listing`: of `folder`, if it is known.
    """
    if isinstance(folder, RemotePath):
        files = list_below(folder, recorded.path, listing)
        size = sum(stored.size or 0 for stored in files.values())
        return bool(files) and (size, _version(recorded.path, files)) == (recorded.bytes, recorded.version)
    path = folder / recorded.path
    try:
        return _size(path) == recorded.bytes and _sha256(path) == recorded.sha256
    except OSError:
        return False


def list_below(folder: RemotePath, name: str, listing: Listing | None = None) -> Mapping[str, Stored]:
    """Return the file `name` of a folder on a storage system, or the files of the folder `name`; empty if none."""
    if listing is not None:
        return listing.below(name)
    found = find(folder / name)
    if found and not found.is_folder:
        return {name: found}
    return {f"{name}/{path}": stored for path, stored in list_files(folder / name).items()}


def _version(name: str, files: Mapping[str, Stored]) -> str | None:
    """Return the version of a file, or one for the files of a folder; None if the storage system has none."""
    if list(files) == [name]:
        return files[name].version
    listed = sorted((path, stored.version) for path, stored in files.items())
    return hashlib.sha256("".join(f"{version}  {path}\n" for path, version in listed).encode()).hexdigest()


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
