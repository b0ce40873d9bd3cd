"""OS errors (full disk, no permission, name too long) as `UsageError`s with a hint."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from animdiff_cli.errors import UsageError

#: errno → reason in plain English
REASONS: Mapping[int, str] = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than this system allows",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
    errno.EEXIST: "part of the path is a file, not a folder",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EISDIR: "a folder with this name exists",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a symlink cycle",
}


#: errno → hint for outputs; `{flag}` is the option that sets the path
OUTPUT_HINTS: Mapping[int, str] = {
    errno.ENOSPC: "free some space, or choose another disk with `{flag}`",
    errno.EDQUOT: "free some space, or choose another disk with `{flag}`",
    errno.EFBIG: "render fewer frames or a smaller size",
    errno.ENAMETOOLONG: "choose a shorter name with `{flag}`",
}


@contextmanager
def readable_failures(
    verb: str, path: Path, *, hint: str, hints: Mapping[int, str] | None = None, kept: str = ""
) -> Iterator[None]:
    """Convert an `OSError` inside the context into a `UsageError` "cannot `verb` `path`: reason".

    `hints` maps errno to a hint that replaces `hint`. `kept` is added to the message if the disk is full.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        why = REASONS.get(code, (error.strerror or str(error)).lower())
        is_disk_full = code in (errno.ENOSPC, errno.EDQUOT)
        message = f"cannot {verb} `{path}`: {why}{kept if is_disk_full else ''}"
        raise UsageError(message, hint=(hints or {}).get(code, hint)) from error


def readable_output_failures(path: Path, flag: str = "--output") -> AbstractContextManager[None]:
    """Convert an `OSError` from writing an output into a `UsageError`. `flag`: the option that sets the path."""
    hints = {code: hint.format(flag=flag) for code, hint in OUTPUT_HINTS.items()}
    return readable_failures("write", path, hint=f"choose another path with `{flag}`", hints=hints)
