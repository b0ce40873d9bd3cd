"""Where the running server of this user is found: a file that only its owner can read, and a lock beside it.

The server holds the lock as long as it lives. The system frees it when the process ends, also by `kill -9`, so a file
without a held lock is stale, whatever process has the port or process ID now.
"""

import json
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from animdiff_cli import paths
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.atomic import replace
from animdiff_cli.files.os_errors import readable_failures
from animdiff_cli.files.untrusted import read_json

START_HINT = "start one with `animdiff serve`, or leave `--via` out"


@dataclass(frozen=True, slots=True)
class Address:
    """URL of a server, and the token that it asks for."""

    url: str
    token: str | None = None


@contextmanager
def registered(address: Address) -> Iterator[bool]:
    """Register a running server. Yields False if another server of this user is registered on this machine."""
    file = _file()
    lock = FileLock(_lock_of(file), mode=0o600)
    with readable_failures("write", file, hint="choose another folder: `export ANIMDIFF_STATE=…`"):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = _acquired(lock)
        if is_ours:
            _write(file, {"url": address.url, "token": address.token, "pid": os.getpid()})
    try:
        yield is_ours
    finally:
        if is_ours:
            file.unlink(missing_ok=True)
            lock.release()


def find_running() -> Address:
    """Return the address of the server of this user on this machine. Removes what a killed server left.

    Raises `NotFound` if none runs, `UsageError` if the file may be of somebody else.
    """
    file = _file()
    if not file.exists() or _was_stale(file):
        raise NotFound("no `animdiff serve` is running on this machine", hint=START_HINT)
    _require_private(file)
    try:
        record = read_json(file)
        return Address(str(record["url"]), None if record["token"] is None else str(record["token"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotFound(f"cannot read `{file}`, which names the running server", hint="restart it") from error


def _file() -> Path:
    # home directories may be shared by several machines
    return paths.state_dir() / f"serve-{platform.node() or 'here'}.json"


def _lock_of(file: Path) -> Path:
    return file.with_suffix(".lock")


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=1)  # a client may hold it while it looks
    except Timeout:
        return False
    return True


def _was_stale(file: Path) -> bool:
    """Remove the file if no server holds its lock. Returns whether that was so."""
    try:
        with FileLock(_lock_of(file), mode=0o600, blocking=False):
            file.unlink(missing_ok=True)
    except Timeout:
        return False
    return True


def _write(file: Path, record: dict[str, object]) -> None:
    """Write a file that never has other permissions than those of its owner."""
    hidden = file.with_name(f".{file.name}.{os.getpid()}")
    hidden.unlink(missing_ok=True)
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        json.dump(record, written)
    replace(hidden, file)


def _require_private(file: Path) -> None:
    status = file.lstat()
    is_private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
    if os.name == "posix" and not (is_private and status.st_uid == os.getuid()):
        raise UsageError(
            f"`{file}` is not a file that only you can read, so it is not trusted",
            hint=f"remove it and restart `animdiff serve`: `rm {file}`",
        )
