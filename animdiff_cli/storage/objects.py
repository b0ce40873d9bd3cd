"""Files on a storage system: find, list, read, upload and remove them. fsspec is imported at the first use."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.core.urls import STORAGE_PACKAGES
from animdiff_cli.errors import NetworkError
from animdiff_cli.files.leftovers import hidden_suffix
from animdiff_cli.storage.failures import is_missing, storage_failures
from animdiff_cli.storage.known_hosts import known_hosts_policy
from animdiff_cli.storage.location import Location, RemotePath

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

#: storage systems on which an upload appears whole under its name, or not at all; elsewhere it is renamed to it
OBJECT_STORES = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"))
#: those that refuse to replace an object which another program has created since it was looked for
CREATE_EXCLUSIVELY = frozenset(("s3", "s3a"))
#: what changes when a file does, as the storage systems call it, best first
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file or folder on a storage system. `size` is bytes; None for a folder and where it is unknown."""

    is_folder: bool
    size: int | None
    version: str | None = None  # changes when the file does; None if the storage system has nothing like that


def find(path: RemotePath) -> Stored | None:
    """Look a file or folder up; None if there is none, or no such bucket. Raises `AnimdiffError`."""
    with storage_failures("look for", path):
        fs, name = open_storage(path)
        fs.invalidate_cache()  # other programs write there too
        try:
            return _stored(fs.info(name))
        except FileNotFoundError as error:
            if is_missing(error):
                return None
            raise


def size_of(path: Location) -> int:
    """Return the bytes of a file; a small number for a folder. Raises `AnimdiffError`, or `OSError` for a local one."""
    if not isinstance(path, RemotePath):
        return path.stat().st_size
    found = find(path)
    return (found.size or 0) if found else 0


def list_files(folder: RemotePath) -> Mapping[str, Stored]:
    """List the files below a folder by their path relative to it; empty if there is none. One request for 1,000."""
    with storage_failures("list", folder):
        fs, name = open_storage(folder)
        fs.invalidate_cache()
        try:
            found = fs.find(name, detail=True)
        except FileNotFoundError:
            return {}
        prefix = name.strip("/") + "/"
        below = {path.strip("/"): info for path, info in found.items()}
        return {path.removeprefix(prefix): _stored(info) for path, info in below.items() if path.startswith(prefix)}


def read(path: RemotePath, *, max_bytes: int) -> bytes:
    """Read a file of at most `max_bytes` bytes. Raises `AnimdiffError`, or `ValueError` if it is larger."""
    with storage_failures("read", path):
        fs, name = open_storage(path)
        fs.invalidate_cache()
        size = fs.info(name).get("size")
        is_small = size is None or size <= max_bytes
        content: bytes = fs.cat_file(name) if is_small else b""
    if not is_small or len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    return content


def read_range(path: RemotePath, start: int, stop: int) -> bytes:
    """Read bytes [start, stop) of a file. Raises `AnimdiffError`."""
    with storage_failures("read", path):
        fs, name = open_storage(path)
        content: bytes = fs.cat_file(name, start=start, end=stop)
        return content


def download(path: RemotePath, target: Path) -> None:
    """Copy a file to the local path `target`. Raises `AnimdiffError`, or `OSError` for a full disk."""
    with storage_failures("read", path):
        fs, name = open_storage(path)
        fs.get_file(name, str(target))


def upload(source: Path, target: RemotePath, *, replace: bool) -> None:
    """Upload a local file. It appears whole under its name, or not at all.

    Raises `FileExistsError` if `target` exists and `replace` is False, `AnimdiffError` if the upload fails.
    """
    with storage_failures("write", target):
        fs, name = open_storage(target)
        if not replace and fs.exists(name):
            raise FileExistsError(str(target))
        if target.scheme in OBJECT_STORES:
            is_exclusive = not replace and target.scheme in CREATE_EXCLUSIVELY
            fs.put_file(str(source), name, **({"mode": "create"} if is_exclusive else {}))
        else:
            _put_beside(fs, source, name)
        fs.invalidate_cache()
        size = fs.info(name)["size"]
    if size != source.stat().st_size:
        message = f"`{target}` has {size} bytes after the upload, not {source.stat().st_size}"
        raise NetworkError(message, hint="another program may write to the same name: run it again")


def remove(path: RemotePath) -> None:
    """Remove a file. Raises `AnimdiffError`."""
    with storage_failures("remove", path):
        fs, name = open_storage(path)
        fs.rm_file(name)


def open_storage(path: RemotePath) -> "tuple[AbstractFileSystem, str]":
    """Return the file system of a URL, which fsspec keeps for later calls, and the name of the file in it.

    Raises whatever the storage library raises: use it inside `storage_failures`.
    """
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    _silence(STORAGE_PACKAGES[path.scheme])
    options: dict[str, Any] = {}
    if path.scheme in ("sftp", "ssh"):
        options["host_key_policy"] = known_hosts_policy()
    fs, name = url_to_fs(str(path), **options)
    return fs, name


@cache
def _silence(package: str) -> None:
    """Keep the log of a storage library, which holds tracebacks, from stderr, unless the program shows logs."""
    logging.getLogger(package or "fsspec").addHandler(logging.NullHandler())


def _stored(info: Mapping[str, Any]) -> Stored:
    is_folder = info["type"] == "directory"
    version = next((info[key] for key in _VERSIONS if info.get(key)), None)
    if isinstance(version, datetime):
        version = version.timestamp()
    if is_folder:
        return Stored(True, None)
    return Stored(False, info.get("size"), None if version is None else str(version))


def _put_beside(fs: "AbstractFileSystem", source: Path, name: str) -> None:
    """Upload under a hidden name, then rename."""
    folder, slash, last = name.rpartition("/")
    hidden = f"{folder}{slash}.{last}{hidden_suffix('partial')}"
    _make_folder(fs, folder)
    try:
        fs.put_file(str(source), hidden)
        fs.mv(hidden, name)
    except BaseException:
        if fs.exists(hidden):
            fs.rm_file(hidden)
        raise


def _make_folder(fs: "AbstractFileSystem", folder: str) -> None:
    try:
        fs.makedirs(folder, exist_ok=True)
    except Exception:  # another process may have created it at the same time
        if not fs.isdir(folder):
            raise
