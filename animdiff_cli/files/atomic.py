"""Atomic writes: write a file or folder under a hidden name beside its target, then rename it.

A path that exists is therefore always complete. The next write in a folder removes what a killed process left there.
"""

import ctypes
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animdiff_cli.files.leftovers import hidden_suffix, sweep, sweep_once

MAX_NAME_BYTES = 255


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
    sweep_once(path.parent.absolute())  # once per process: caches hold thousands of small files
    with _hidden_path(path) as hidden:
        hidden.write_text(text, encoding="utf-8", newline=newline)
        hidden.replace(path)


@contextmanager
def hidden_sibling(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`. It is removed at the end if it still exists, also on Ctrl-C."""
    sweep(path.parent)
    with _hidden_path(path) as hidden:
        yield hidden


@contextmanager
def _hidden_path(path: Path) -> Iterator[Path]:
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
    """Rename `written` to `target`, replacing it.

    A folder is exchanged with the one it replaces, so that `target` exists at every moment. Where the system cannot
    exchange folders, the replaced one is restored if the rename fails, or by the next write if the process is killed.
    """
    if not target.is_dir() or target.is_symlink() or not written.is_dir():
        written.replace(target)
        return
    if _exchange(written, target):
        shutil.rmtree(written)  # now the replaced folder
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
    """Return `.NAME.purpose-…` beside `path`. A name that would be too long is shortened."""
    suffix = hidden_suffix(purpose)
    name, room = os.fsencode(path.name), MAX_NAME_BYTES - len(suffix) - 1
    if len(name) <= room:
        return path.with_name(f".{path.name}{suffix}")
    digest = hashlib.sha256(name).hexdigest()[:8]
    return path.with_name(f".{name[: room - 9].decode(errors='ignore')}~{digest}{suffix}")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step with `renameat2`. False if the system or file system does not support it."""
    at_cwd, rename_exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE in <linux/fs.h>
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError, TypeError):  # not Linux, or an old C library
        return False
    return bool(renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), rename_exchange) == 0)
