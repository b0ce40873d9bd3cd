"""Read inputs that may be on a storage system."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.errors import NotFound
from animdiff_cli.files.os_errors import temporary_failures, temporary_folder
from animdiff_cli.files.untrusted import MAX_BYTES, read_bytes
from animdiff_cli.storage.location import Location, RemotePath, location
from animdiff_cli.storage.objects import Stored, download, find, list_files, read


def read_input(source: Location, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file of at most `max_bytes` bytes, or a local pipe.

    Raises `OSError` for a local file, `AnimdiffError` for another one, `ValueError` if it is larger or no file.
    """
    if isinstance(source, RemotePath):
        return read(source, max_bytes=max_bytes)
    return read_bytes(source, max_bytes=max_bytes, allow_pipe=True)


def local_input(name: str | Path | RemotePath) -> Path:
    """Return the local path of a clip or image; a URL is downloaded to a temporary file of the same name.

    A file is downloaded again if it has changed since. A local path need not exist. Raises `AnimdiffError`.
    """
    source = location(name)
    if not isinstance(source, RemotePath):
        return source
    return _downloaded(source, _existing(source))


@contextmanager
def local_copy(source: Location) -> Iterator[Path]:
    """Yield the local path of a clip, or of a temporary copy that is removed afterwards. Raises as `local_input`."""
    if not isinstance(source, RemotePath):
        yield source
        return
    with temporary_folder({}) as folder:
        yield _download(source, _existing(source), folder)


def _existing(source: RemotePath) -> Stored:
    found = find(source)
    if found is None:
        raise NotFound(f"no file or folder `{source}`", hint="check the URL")
    return found


@cache
def _downloaded(source: RemotePath, found: Stored) -> Path:
    """Download the version `found` of a file or folder, once while the program runs."""
    with temporary_failures():
        return _download(source, found, Path(tempfile.mkdtemp(dir=_folder().name)))


def _download(source: RemotePath, found: Stored, folder: Path) -> Path:
    """Download a file, or the files of a folder, into a local folder. Returns its path there."""
    with temporary_failures():
        target = folder / source.name
        if not found.is_folder:
            download(source, target)
            return target
        target.mkdir()
        for name in list_files(source):
            if "/" not in name:  # a folder of frames has no folders
                download(source / name, target / name)
    return target


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Create the folder of downloaded inputs. It is removed when the program ends."""
    return tempfile.TemporaryDirectory(prefix=paths.TEMPORARY)
