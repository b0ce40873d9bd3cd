"""Files that appear whole or not at all: written under a hidden name beside the target, then renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animdiff_cli.errors import UsageError

ELSEWHERE = "choose another place with `--output`"
#: what the system said → what happened, and what to do
FAILURES = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or choose another disk with `--output`"),
    errno.EDQUOT: ("your disk quota is used up", "free some space, or choose another disk with `--output`"),
    errno.EFBIG: ("the file is larger than this system allows", "render fewer frames, or a smaller picture"),
    errno.EACCES: ("permission denied", ELSEWHERE),
    errno.EPERM: ("permission denied", ELSEWHERE),
    errno.EROFS: ("the disk is read-only", ELSEWHERE),
    errno.EEXIST: ("part of that path is a file, not a folder", ELSEWHERE),
    errno.ENOTDIR: ("part of that path is a file, not a folder", ELSEWHERE),
    errno.EISDIR: ("a folder of that name is in the way", ELSEWHERE),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one with `--output`"),
}


@contextmanager
def partial(path: Path) -> Iterator[Path]:
    """A hidden neighbour of `path` to write to. Whatever is still there at the end is removed, also on Ctrl-C."""
    hidden = _hidden(path, "partial")
    _remove(hidden)
    try:
        yield hidden
    finally:
        _remove(hidden)


@contextmanager
def readable_failures(path: Path, flag: str = "--output") -> Iterator[None]:
    """Turn what the operating system refuses (full disk, no permission) into a `UsageError` that names `path`.

    `flag` is the one that chose the path, for the hint.
    """
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        why, hint = FAILURES.get(error.errno or 0, (said.lower(), ELSEWHERE))
        raise UsageError(f"cannot write `{path}`: {why}", hint=hint.replace("--output", flag)) from error


def claim(written: Path, target: Path) -> None:
    """Give `written` the name `target`, never replacing anything. Raises `FileExistsError` when it is taken."""
    if written.is_dir():
        if os.path.lexists(target):
            raise FileExistsError(target)
        written.rename(target)
        return
    try:
        # unlike a rename, a link fails when another program took the name in the meantime
        target.hardlink_to(written)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        written.replace(target)


def supersede(written: Path, target: Path) -> None:
    """Give `written` the name `target` in place of what is there, which comes back if that fails."""
    if not target.is_dir() or target.is_symlink() or not written.is_dir():
        written.replace(target)
        return
    aside = _hidden(target, "replaced")
    target.rename(aside)
    try:
        written.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside)


def _hidden(path: Path, why: str) -> Path:
    return path.with_name(f".{path.name}.{why}-{os.getpid()}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
