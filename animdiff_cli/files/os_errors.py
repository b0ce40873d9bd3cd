"""Errors of the operating system (full disk, no permission, name too long) as `UsageError`s with a hint."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from animdiff_cli.errors import UsageError

#: errno: what happened, in words
WORDS: Mapping[int, str] = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than this system allows",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
    errno.EEXIST: "part of that path is a file, not a folder",
    errno.ENOTDIR: "part of that path is a file, not a folder",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its links lead in a circle",
}


#: errno: what to do when an output cannot be written; `{flag}` is the option that chose its path
OUTPUT_HINTS: Mapping[int, str] = {
    errno.ENOSPC: "free some space, or choose another disk with `{flag}`",
    errno.EDQUOT: "free some space, or choose another disk with `{flag}`",
    errno.EFBIG: "render fewer frames, or a smaller picture",
    errno.ENAMETOOLONG: "choose a shorter one with `{flag}`",
}


@contextmanager
def readable_failures(
    verb: str, path: Path, *, hint: str, hints: Mapping[int, str] | None = None, kept: str = ""
) -> Iterator[None]:
    """Turn an `OSError` inside the context into a `UsageError`: cannot `verb` `path`, and why.

    `hints` by errno come before the general `hint`; `kept` says what a full disk leaves behind.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        why = WORDS.get(code, (error.strerror or str(error)).lower())
        full = code in (errno.ENOSPC, errno.EDQUOT)
        message = f"cannot {verb} `{path}`: {why}{kept if full else ''}"
        raise UsageError(message, hint=(hints or {}).get(code, hint)) from error


def readable_output_failures(path: Path, flag: str = "--output") -> AbstractContextManager[None]:
    """Turn an `OSError` while writing the output `path` into a `UsageError`. `flag`: the option that chose the path."""
    hints = {code: hint.format(flag=flag) for code, hint in OUTPUT_HINTS.items()}
    return readable_failures("write", path, hint=f"choose another place with `{flag}`", hints=hints)
