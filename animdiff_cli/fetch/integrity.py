"""Is this file what it should be?"""

import hashlib
from pathlib import Path

from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.http import host
from animdiff_cli.fetch.remote import Digest, Remote
from animdiff_cli.files.hashing import sha256_of

_PAGE_BEGINNINGS = (b"<!doctype", b"<html", b"<?xml", b"<head")


def digest_of(path: Path) -> Digest:
    """Hash a file that is here; flat memory at any size."""
    return Digest(sha256_of(path), path.stat().st_size)


def check(remote: Remote, digest: Digest, path: Path) -> None:
    """Compare what has come with what was promised. Raises IntegrityError.

    Where nobody knows a hash, at least a web page that poses as weights is told from weights.
    """
    source = f" from {host(remote.url)}" if remote.url else ""
    if remote.sha256 not in (None, digest.sha256):
        expected, got = (remote.sha256 or "")[:12], digest.sha256[:12]
        raise IntegrityError(f"{remote.name}{source}: expected sha256 {expected}…, got {got}…", hint=REPLACED)
    if remote.git_sha1 not in (None, _git_sha1(path) if remote.git_sha1 else None):
        raise IntegrityError(f"{remote.name}{source} is not the file that its repository lists", hint=REPLACED)
    if remote.sha256 is None and _is_page(path):
        raise IntegrityError(f"{remote.name}{source} is a web page, not weights", hint="open the address in a browser")


REPLACED = "the file there was replaced or damaged: do not use it; try again later, or name another source"


def _git_sha1(path: Path) -> str:
    """Hash a file as git names it; only ever used on small ones."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(512).lstrip().lower()
    return beginning.startswith(_PAGE_BEGINNINGS)
