"""Atomic writes: write a file or folder under a hidden name beside its target, then rename it.

A path that exists is therefore always complete.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield a hidden path to write a file or folder to; rename it to `path` when the block succeeds.

    Replaces an existing `path`. If the block raises, `path` is unchanged and the hidden path is removed. `sync` flushes
    a file to disk before the rename. Raises `OSError`.
    """
    with hidden_sibling(path) as hidden:
        yield hidden
        if sync:
            with hidden.open("rb") as file:
                os.fsync(file.fileno())
        replace(hidden, path)


def atomic_write_text(path: Path, text: str, *, newline: str | None = None) -> None:
    """Write UTF-8 text to `path`, replacing it atomically. Creates missing parent folders. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as hidden:
        hidden.write_text(text, encoding="utf-8", newline=newline)


@contextmanager
def hidden_sibling(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`. It is removed at the end if it still exists, also on Ctrl-C."""
    hidden = _hidden(path, "partial")
    remove(hidden)
    try:
        yield hidden
    finally:
        remove(hidden)


def claim(written: Path, target: Path) -> None:
    """Rename `written` to `target` without replacing anything. Raises `FileExistsError` if `target` exists."""
    if written.is_dir():
        if os.path.lexists(target):
            raise FileExistsError(target)
        written.rename(target)
        return
    try:
        # unlike a rename, a hard link fails if another program has created `target` in the meantime
        target.hardlink_to(written)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        written.replace(target)


def replace(written: Path, target: Path) -> None:
    """Rename `written` to `target`, replacing it. A replaced folder is restored if the rename fails."""
    if not target.is_dir() or target.is_symlink() or not written.is_dir():
        written.replace(target)
        return
    backup = _hidden(target, "replaced")
    target.rename(backup)
    try:
        written.rename(target)
    except BaseException:
        backup.rename(target)
        raise
    shutil.rmtree(backup)


def remove(path: Path) -> None:
    """Remove a file, symlink or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hidden(path: Path, purpose: str) -> Path:
    return path.with_name(f".{path.name}.{purpose}-{os.getpid()}")
