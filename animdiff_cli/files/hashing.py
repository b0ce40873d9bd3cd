"""sha256 of files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits. Reads in blocks: memory does not grow with size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Hash several files, by their path relative to `root`."""
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in paths}
