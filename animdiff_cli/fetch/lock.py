"""Processes take turns with a file of the models folder: one fetches or removes it, the others wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from animdiff_cli.core.events import Emit, Note


@contextmanager
def turn(target: Path, emit: Emit) -> Iterator[None]:
    """Wait until no other process fetches the same thing. The lock goes with the process, however it ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        emit(Note(f"another process is busy with {target.name}: waiting for it"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
