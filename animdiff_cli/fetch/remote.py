"""Files on a server: their description, safe local names, and verification of downloads."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.network import host
from animdiff_cli.files.hashing import sha256_of

MAX_NAME_BYTES = 180  # leaves room for `.part.jsonl` below the usual limit of 255
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')  # control characters, and those Windows does not allow
_DISPOSITION = re.compile(r"filename\*?\s*=\s*(?:UTF-8'[^']*')?\"?([^\";]+)", re.IGNORECASE)
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


def safe_name(name: str, default: str = "model") -> str:
    r"""Return the last path component of a name chosen by a server, made safe as a local file name.

    Removes path traversal, leading dots and characters that a file system forbids; shortens long names.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\x.ckpt"), safe_name("..")
    ('passwd', 'x.ckpt', 'model')
    """
    last = re.split(r"[/\\]", name)[-1]
    return _shorten(_FORBIDDEN.sub("_", last).strip(" .")) or default


def disposition_name(header: str | None) -> str | None:
    """Parse the file name in a Content-Disposition header. Pass the result to `safe_name` before use.

    >>> disposition_name('attachment; filename="toonyou beta.safetensors"')
    'toonyou beta.safetensors'
    """
    match = _DISPOSITION.search(header or "")
    return match[1].strip() if match else None


def require_relative(path: str) -> str:
    """Return the path of a file in a repository unchanged. Raises IntegrityError if it points outside."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or {"..", "."} & set(path.split("/")) or ":" in path:
        raise IntegrityError(f"unsafe path `{path}` in the repository: refused", hint="fetch it from another source")
    return path


def _shorten(name: str) -> str:
    suffix = PurePosixPath(name).suffix[:20]
    stem = name.removesuffix(suffix).encode()
    return stem[: MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


def _git_sha1(path: Path) -> str:
    """Return the git blob hash of a file. Reads it into memory: for small files only."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _is_html(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    return head.startswith(_HTML_PREFIXES)
