"""Weights on a storage system: describe them, and download them so that an interrupted download resumes."""

from pathlib import PurePosixPath

from animdiff_cli.core.events import BytesReceived, Emit
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import NetworkError, NotFound, UsageError
from animdiff_cli.fetch.names import safe_name
from animdiff_cli.fetch.part import FileVersion, PartialFile, split_ranges
from animdiff_cli.fetch.remote import Digest, RemoteFile, ResolvedRef, require_relative
from animdiff_cli.storage.location import RemotePath
from animdiff_cli.storage.objects import Stored, find, list_files, read_range

CHUNK = 16 << 20  # bytes per request


def is_stored(url: str) -> bool:
    """True for the URL of a storage system, False for one of a web server."""
    return not url.lower().startswith(("https:", "http:"))


def resolve_stored(ref: ModelRef) -> ResolvedRef:
    """Look a file up, or list a folder, whose URL ends in `/`. Raises `NotFound`, `NetworkError` or `UsageError`."""
    path = RemotePath(ref.target)
    if ref.target.endswith("/"):
        return _resolve_folder(ref, path)
    found = _existing(path)
    if found.is_folder:
        raise UsageError(f"`{path}` is a folder", hint=f"for a diffusers model, type `{path}/`")
    return ResolvedRef(ref, (RemoteFile(ref.target, safe_name(path.name), found.size),))


def download_stored(remote: RemoteFile, part: PartialFile, emit: Emit) -> Digest:
    """Download what `part` does not have. Starts again if the file is another version than that of `part`."""
    path = RemotePath(remote.url)
    found = _existing(path)
    version = FileVersion(found.size, found.version, remote.sha256)
    can_resume = part.version == version and (version.validator or version.sha256)
    if not can_resume:
        part.restart(version)
    for start, stop in split_ranges(part.missing(found.size or 0), CHUNK):
        part.write(start, read_range(path, start, stop))
        while part.hash_next_chunk():
            pass
        emit(BytesReceived(remote.name, part.received, found.size))
    if _existing(path) != found:
        raise NetworkError(f"`{path}` has changed during the download", hint="run it again")
    return Digest(part.sha256(), part.received, found.version)


def _existing(path: RemotePath) -> Stored:
    found = find(path)
    if found is None:
        raise NotFound(f"no file `{path}`", hint="check the URL")
    return found


def _resolve_folder(ref: ModelRef, path: RemotePath) -> ResolvedRef:
    files = list_files(path)
    if not files:
        raise NotFound(f"no folder `{path}`", hint="check the URL")
    remotes = [
        RemoteFile(f"{ref.target}{name}", require_relative(name), found.size)
        for name, found in sorted(files.items())
        if not PurePosixPath(name).name.startswith(".")
    ]
    return ResolvedRef(ref, tuple(remotes), is_folder=True)
