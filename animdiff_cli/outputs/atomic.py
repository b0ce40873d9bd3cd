"""Files that appear whole or not at all: written under a hidden name beside the target, then renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from animdiff_cli import refusals

ELSEWHERE = "choose another place with `--output`"
FREE_SPACE = "free some space, or choose another disk with `--output`"
#: what the system said → what to do
HINTS = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "render fewer frames, or a smaller picture",
    errno.ENAMETOOLONG: "choose a shorter one with `--output`",
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


def readable_failures(path: Path, flag: str = "--output") -> AbstractContextManager[None]:
    """Turn what the operating system refuses where an output goes into a `UsageError` that names `path`.

    `flag` is the one that chose the path, for the hint.
    """
    hints = {code: hint.replace("--output", flag) for code, hint in HINTS.items()}
    return refusals.readable_failures("write", path, hint=ELSEWHERE.replace("--output", flag), hints=hints)


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
