"""SHA-256 hashes of files, and the state of a file, by which a change is found without reading it."""

import errno
import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path

#: size in bytes, times of the last change of content and of anything in nanoseconds, and number in the file system
FileState = tuple[int, int, int, int]


def file_state(path: Path) -> FileState:
    """Return the state of a file, another one if it was written or replaced, even by one of the same size and date.

    Raises `OSError` if there is none.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


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
