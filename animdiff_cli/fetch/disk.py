"""The disk that models are kept on: what it has room for, and what it refuses."""

import errno
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from animdiff_cli.errors import UsageError
from animdiff_cli.files import os_errors

ELSEWHERE = "choose another folder: `export ANIMDIFF_MODELS=…`"
FREE_SPACE = "free some space, then run it again"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def readable_failures(path: Path) -> AbstractContextManager[None]:
    """Turn what the operating system refuses in the models folder into a `UsageError` that names `path`."""
    hints = {errno.ENOSPC: FREE_SPACE, errno.EDQUOT: FREE_SPACE}
    return os_errors.readable_failures("use", path, hint=ELSEWHERE, hints=hints, kept="; what has arrived is kept")


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
