"""A file on a server, before and after it is here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server, and what is known of it beforehand."""

    url: str
    name: str  # below its target, `/` between folders
    size: int | None = None  # bytes
    sha256: str | None = None
    git_sha1: str | None = None  # of small files on the Hub, which have no sha256 there
    pinned: bool = False  # another size than `size` is another file, and refused


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file turned out to be."""

    sha256: str
    size: int  # bytes
    etag: str | None = None
