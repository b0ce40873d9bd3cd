"""What exactly was loaded: the sha256 of weight files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def hash_file(path: Path) -> str:
    """Hash one file; flat memory at any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Hash several files, named by their place below `root`."""
    return {path.relative_to(root).as_posix(): hash_file(path) for path in paths}
