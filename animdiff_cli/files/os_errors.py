"""OS errors (full disk, no permission, name too long) as `UsageError`s with a hint."""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError

#: errno → reason in plain English
REASONS: Mapping[int, str] = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "your quota is used up on the disk",
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


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: errno → hint for outputs; `{flag}` is the option that sets the path
OUTPUT_HINTS: Mapping[int, str] = {
    **dict.fromkeys(DISK_FULL, "free some space, or choose another disk with `{flag}`"),
    errno.EFBIG: "render fewer frames or a smaller size",
    errno.ENAMETOOLONG: "choose a shorter name with `{flag}`",
}


@contextmanager
def readable_failures(
    verb: str, path: Path, *, hint: str, hints: Mapping[int, str] | None = None, kept: str = ""
) -> Iterator[None]:
    """Convert an `OSError` inside the context into a `UsageError` "cannot `verb` `path`: reason".

    `hints` maps errno to a hint that replaces `hint`. If the disk is full, the message names it and ends in `kept`. If
    `path` is in a folder of ours, the hint names the variable that moves the folder.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        why = REASONS.get(code, (error.strerror or str(error)).lower())
        disk = f" mounted at `{_mount_point(path)}`{kept}" if code in DISK_FULL else ""
        message = f"cannot {verb} `{path}`: {why}{disk}"
        moved = _move_hint(code, path)
        raise UsageError(message, hint=moved or (hints or {}).get(code, hint)) from error


def temporary_place() -> Path:
    """Return how messages name our temporary files: `animdiff-…` in the system's folder for them.

    Raises `UsageError` if no such folder can be written.
    """
    try:
        return Path(tempfile.gettempdir(), f"{paths.TEMPORARY}…")
    except FileNotFoundError as error:
        message = "no folder for temporary files can be written"
        raise UsageError(message, hint="free some space, or choose another folder: `export TMPDIR=…`") from error


@contextmanager
def temporary_failures() -> Iterator[None]:
    """Convert an `OSError` from a temporary file inside the context into a `UsageError`."""
    with readable_failures("write", temporary_place(), hint="choose another folder: `export TMPDIR=…`"):
        yield


@contextmanager
def temporary_folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Yield a temporary folder that holds `files`, by name. Raises `UsageError` if it cannot be written."""
    with ExitStack() as stack:
        with temporary_failures():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=paths.TEMPORARY)))
            for name, content in files.items():
                (folder / name).write_bytes(content)
        yield folder


def _move_hint(code: int, path: Path) -> str | None:
    """Return how to move our folder that holds `path`; None if another hint is better."""
    variable, is_full = paths.variable_of(path), code in DISK_FULL
    is_disk = is_full or code == errno.EROFS
    if variable is None or not (is_disk or variable in ("ANIMDIFF_CACHE", "TMPDIR")):
        return None
    choose = f"choose another {'disk' if is_disk else 'folder'}: `export {variable}=…`"
    return f"free some space, or {choose}" if is_full else choose


def _mount_point(path: Path) -> Path:
    try:
        absolute = path.absolute()
    except OSError:  # the current folder was deleted
        return path
    return next((parent for parent in (absolute, *absolute.parents) if os.path.ismount(parent)), absolute)


def readable_output_failures(path: Path, flag: str = "--output") -> AbstractContextManager[None]:
    """Convert an `OSError` from writing an output into a `UsageError`. `flag`: the option that sets the path."""
    variable = " or `export ANIMDIFF_OUTPUT=…`" if flag == "--output" else ""
    hints = {code: hint.format(flag=flag) for code, hint in OUTPUT_HINTS.items()}
    hints |= {code: f"{hints[code]}{variable}" for code in DISK_FULL}
    return readable_failures("write", path, hint=f"choose another path with `{flag}`", hints=hints)


def check_output_path(path: Path, flag: str = "--output") -> None:
    """Check that a file or folder can be created at `path`, whose parents may be missing. Creates nothing.

    Raises `UsageError` for a file in place of a folder, a folder without write permission, and a name that is too long.
    """
    parent = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not os.path.isdir(parent):  # noqa: PTH112  Path.is_dir raises for a folder without permission
        raise UsageError(f"`{parent}` is a file, not a folder", hint=f"choose another path with `{flag}`")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"no permission to write in `{parent}`", hint=f"choose another path with `{flag}`")
    with readable_output_failures(path, flag):
        for name in path.absolute().relative_to(parent).parts:
            _lstat(parent / name)
        _lstat(path)


def unexpected_failure(error: OSError) -> AnimdiffError | None:
    """Return the error to report for an `OSError` that no code expected; None if it may be a bug."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None
    if path is not None and isinstance(error, FileNotFoundError):
        return NotFound(f"no file or folder `{path}`", hint="check the path; another program may have removed it")
    code = error.errno or 0
    if code not in REASONS:
        return None
    hint = "free some space" if code in DISK_FULL else "check the path and its permissions"
    return UsageError(f"cannot use `{path}`: {REASONS[code]}" if path else REASONS[code], hint=hint)


def _lstat(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
