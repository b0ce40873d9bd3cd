"""The disk that models are kept on: what it has room for, and what it refuses."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animdiff_cli.errors import UsageError

ELSEWHERE = "choose another folder: `export ANIMDIFF_MODELS=…`"
#: what the system said → what happened, and what to do
FAILURES = {
    errno.ENOSPC: ("no space left on the disk; what has arrived is kept", "free some space, then run it again"),
    errno.EDQUOT: ("your disk quota is used up; what has arrived is kept", "free some space, then run it again"),
    errno.EFBIG: ("the file is larger than this system allows", ELSEWHERE),
    errno.EACCES: ("permission denied", ELSEWHERE),
    errno.EPERM: ("permission denied", ELSEWHERE),
    errno.EROFS: ("the disk is read-only", ELSEWHERE),
    errno.EEXIST: ("part of that path is a file, not a folder", ELSEWHERE),
    errno.ENOTDIR: ("part of that path is a file, not a folder", ELSEWHERE),
}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@contextmanager
def readable_failures(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses (full disk, no permission) into a `UsageError` that names `path`."""
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        why, hint = FAILURES.get(error.errno or 0, (said.lower(), ELSEWHERE))
        raise UsageError(f"cannot use `{path}`: {why}", hint=hint) from error


def free_bytes(folder: Path) -> int:
    """Ask how many bytes fit on the disk that `folder` is on, or will be once it is made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def require_space(needed: int, free: int, folder: Path) -> None:
    """Raise UsageError if `needed` bytes do not fit, before the first of them is asked for."""
    if needed > free:
        raise UsageError(
            f"{in_words(needed)} to fetch, and {in_words(free)} free on the disk of {folder}",
            hint="free some space, or choose another disk: `export ANIMDIFF_MODELS=…`",
        )


def in_words(size: float) -> str:
    """Write a number of bytes as file managers do, in powers of 1000.

    >>> in_words(1672133921), in_words(999)
    ('1.67 GB', '999 B')
    """
    power = 0
    while size >= 999.5 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    digits = 0 if power == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {_UNITS[power]}"
