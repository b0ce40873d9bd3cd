"""The models folder on disk: free space, locks between processes, readable errors."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from animdiff_cli.core.events import Emit, Note
from animdiff_cli.errors import UsageError
from animdiff_cli.files import os_errors

CHOOSE_FOLDER = "choose another folder: `export ANIMDIFF_MODELS=…`"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def readable_failures(path: Path) -> AbstractContextManager[None]:
    """Turn an `OSError` in the models folder into a `UsageError` that names `path`."""
    return os_errors.readable_failures("use", path, hint=CHOOSE_FOLDER, kept="; downloaded data is kept")


@contextmanager
def target_lock(target: Path, emit: Emit) -> Iterator[None]:
    """Hold a lock on `target` against other processes that fetch or remove it.

    Waits for a process that holds it, and emits a `Note`. The system releases the lock if the process is killed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        emit(Note(f"waiting for another process that is using {target.name}"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def require_space(needed: int, free: int, folder: Path) -> None:
    """Raise UsageError if `needed` bytes exceed the `free` bytes on the disk of `folder`."""
    if needed > free:
        raise UsageError(
            f"not enough space: {format_bytes(needed)} to download, {format_bytes(free)} free on the disk of {folder}",
            hint="free some space, or choose another disk: `export ANIMDIFF_MODELS=…`",
        )


def format_bytes(size: float) -> str:
    """Format a number of bytes with three significant digits, in powers of 1000.

    >>> format_bytes(1672133921), format_bytes(999)
    ('1.67 GB', '999 B')
    """
    power = 0
    while size >= 999.5 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    digits = 0 if power == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {_UNITS[power]}"
