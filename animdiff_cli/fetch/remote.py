"""Files on a server: their description, and verification of downloads."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.network import host
from animdiff_cli.files.hashing import sha256_of

_HTML_PREFIXES = (b"<!doctype", b"<html", b"<?xml", b"<head")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server, with the metadata known before the download."""

    url: str
    name: str  # relative to the target folder, with `/` between folders
    size: int | None = None  # bytes
    sha256: str | None = None
    git_sha1: str | None = None  # git blob hash; the Hub has no sha256 for small files
    exact_size: bool = False  # reject a server file whose size differs from `size`


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    """The remote files that a reference stands for."""

    ref: ModelRef
    files: tuple[RemoteFile, ...]
    cached: Mapping[str, Path] = field(default_factory=dict)  # file name → path in the Hub cache
    is_folder: bool = False  # a model of several files; otherwise `files` has one
    revision: str | None = None  # commit or version, if the source has one

    @property
    def size(self) -> int | None:
        """Total bytes of all files; None if any size is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True, slots=True)
class Digest:
    """Hash and size of a local file."""

    sha256: str
    size: int  # bytes
    etag: str | None = None


def digest_of(path: Path) -> Digest:
    """Hash a local file. Memory does not grow with its size."""
    return Digest(sha256_of(path), path.stat().st_size)


def verify(remote: RemoteFile, digest: Digest, path: Path) -> None:
    """Compare a downloaded file with its remote metadata. Raises IntegrityError.

    Without a known hash, rejects at least HTML pages served in place of weights.
    """
    source = f" from {host(remote.url)}" if remote.url else ""
    if remote.sha256 not in (None, digest.sha256):
        expected, actual = (remote.sha256 or "")[:12], digest.sha256[:12]
        raise IntegrityError(f"{remote.name}{source}: expected sha256 {expected}…, got {actual}…", hint=_REPLACED)
    if remote.git_sha1 not in (None, _git_sha1(path) if remote.git_sha1 else None):
        raise IntegrityError(f"{remote.name}{source} does not match the hash in its repository", hint=_REPLACED)
    if remote.sha256 is None and _is_html(path):
        raise IntegrityError(f"{remote.name}{source} is a web page, not weights", hint="open the URL in a browser")


_REPLACED = "the file was replaced or damaged on the server: try again later, or name another source"


def require_relative(path: str) -> str:
    """Return the path of a file in a repository unchanged. Raises IntegrityError if it points outside."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or {"..", "."} & set(path.split("/")) or ":" in path:
        raise IntegrityError(f"unsafe path `{path}` in the repository: refused", hint="fetch it from another source")
    return path


def _git_sha1(path: Path) -> str:
    """Return the git blob hash of a file."""
    with path.open("rb") as file:
        header = b"blob %d\0" % path.stat().st_size

        def sha1() -> "hashlib._Hash":
            return hashlib.sha1(header, usedforsecurity=False)

        return hashlib.file_digest(file, sha1).hexdigest()


def _is_html(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    return head.startswith(_HTML_PREFIXES)
