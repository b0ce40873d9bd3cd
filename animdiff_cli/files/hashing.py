"""SHA-256 hashes of files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits. Reads in blocks, so memory use is constant."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the sha256 of several files by path relative to `root`."""
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in paths}
