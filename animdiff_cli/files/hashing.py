"""SHA-256 hashes of files."""

import errno
import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits. Reads in blocks, so memory use is constant.

    Raises `OSError`, also for a pipe or device, which may never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the sha256 of several files by path relative to `root`."""
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in paths}
