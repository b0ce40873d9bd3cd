"""The disk catches up while more arrives: the end of a download need not wait for all of it to be written."""

import os
from concurrent.futures import Future, ThreadPoolExecutor

STEP = 64 << 20  # bytes that are worth asking the disk for


class DiskWriter:
    """Sends what a file has so far to the disk, in a thread of its own. What the disk refuses is raised as OSError."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._under_way: Future[None] | None = None
        self._sent = 0

    def follow(self, written: int) -> None:
        """Send the file again once `written`, the bytes it holds, has grown by a step; returns at once."""
        if written - self._sent < STEP or (self._under_way and not self._under_way.done()):
            return
        self._wait()
        self._sent = written
        self._under_way = self._thread.submit(os.fsync, self._descriptor)

    def start_over(self) -> None:
        """Count from nothing: the file was emptied."""
        self._sent = 0

    def finish(self, written: int) -> "Future[None]":
        """Send the rest of a file that is whole now; the result is there when all of it is on disk, or refused."""
        before, self._sent = self._under_way, written
        self._under_way = self._thread.submit(self._last, before)
        return self._under_way

    def close(self) -> None:
        """Wait for what is under way, so that the descriptor may be closed."""
        self._thread.shutdown()

    def _last(self, before: "Future[None] | None") -> None:
        if before:
            before.result()  # an error is told to one caller of fsync only: it must not be lost between two
        os.fsync(self._descriptor)

    def _wait(self) -> None:
        if self._under_way:
            self._under_way.result()
