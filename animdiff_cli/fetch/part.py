"""Partial downloads: the file `NAME.part`, and a journal of the byte ranges it holds.

The first line of the journal `NAME.part.jsonl` describes the version of the remote file; each further line is one
range. A range is recorded after its bytes are written, so the journal never lists bytes that the file does not have,
even if the process is killed.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.untrusted import parse_json, read_bytes

HASH_CHUNK = 1 << 20  # bytes
MAX_JOURNAL_BYTES = 256 << 20  # a day of a slow connection
SYNC_INTERVAL = 64 << 20  # bytes between two calls of fsync

ByteRange = tuple[int, int]  # bytes [start, stop)


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Identifies one version of a remote file."""

    size: int | None  # bytes
    validator: str | None  # ETag or Last-Modified
    sha256: str | None  # expected hash, if known


_VERSION, _RANGE = TypeAdapter(FileVersion), TypeAdapter(ByteRange)


class PartialFile:
    """A partial download on disk. Several threads may write ranges at once; one thread hashes the contiguous start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal_path = _journal_path(path)
        self.version, self.ranges = _read_journal(self.journal_path, path.stat().st_size if path.exists() else 0)
        self.resumed = bool(self.ranges)
        self._lock = threading.Lock()
        self._buffer = memoryview(bytearray(HASH_CHUNK))
        self._file: IO[bytes] = path.open("r+b" if self.ranges else "wb", buffering=0)
        self._sync = BackgroundSync(self._file.fileno())
        self._journal = self._open_journal()
        self._reset_hash()

    def restart(self, version: FileVersion | None) -> None:
        """Discard all bytes and start on another version of the remote file."""
        with self._lock:
            self._journal.close()
            self.journal_path.unlink()  # before the bytes: a journal must not list bytes that are gone
            self._file.truncate(0)
            self._sync.reset()
            self.version, self.ranges, self.resumed = version, (), False
            self._journal = self._open_journal()
            self._reader.close()
            self._reset_hash()

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at `offset` and record the range. On a full disk, records the bytes that were written."""
        with self._lock:
            self._file.seek(offset)
            left = memoryview(data)
            try:
                while left:
                    left = left[self._file.write(left) :]
            finally:
                self._record((offset, offset + len(data) - len(left)))

    def _record(self, byte_range: ByteRange) -> None:
        if self.version is None or self.version.sha256 is None:
            # no hash would detect bytes lost in a power failure: flush them before recording the range
            os.fsync(self._file.fileno())
        self.ranges = merge_ranges((*self.ranges, byte_range))
        self._journal.write(f"{json.dumps(byte_range)}\n".encode())

    @property
    def received(self) -> int:
        """Number of bytes in the file so far."""
        return count_bytes(self.ranges)

    def missing(self, size: int) -> tuple[ByteRange, ...]:
        """Return the missing ranges of a file of `size` bytes."""
        return missing_ranges(self.ranges, size)

    def hash_next_chunk(self) -> bool:
        """Hash the next contiguous chunk and flush to disk in the background. False if there is nothing to hash."""
        self._sync.flush_if_due(self.received)
        # no lock: `ranges` is only ever replaced, and hashing must not block writers
        amount = min(contiguous_bytes(self.ranges) - self._hashed, HASH_CHUNK)
        if amount <= 0:
            return False
        read = self._reader.readinto(self._buffer[:amount])
        self._sha256.update(self._buffer[:read])
        self._hashed += read
        return read > 0

    def sha256(self) -> str:
        """Return the hash of the contiguous bytes from the start. Flushes the file to disk meanwhile."""
        flushed = self._sync.flush_rest(self.received)
        while self.hash_next_chunk():
            pass
        flushed.result()
        return self._sha256.hexdigest()

    def finalize(self, target: Path) -> None:
        """Flush the complete file to disk, rename it to `target` and remove the journal."""
        os.fsync(self._file.fileno())
        self.close()
        self.path.replace(target)  # before the journal is removed: a crash in between must not lose the bytes
        self.journal_path.unlink()

    def discard(self) -> None:
        """Remove the file and its journal."""
        self.close()
        self.journal_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files and keep them for a later run."""
        self._sync.close()
        for file in (self._file, self._journal, self._reader):
            file.close()

    def _open_journal(self) -> IO[bytes]:
        """Rewrite the journal, which drops a last line that was cut off, and open it for appending."""
        lines = [json.dumps(asdict(self.version)) if self.version else "null", *map(json.dumps, self.ranges)]
        atomic_write_text(self.journal_path, "".join(f"{line}\n" for line in lines))
        return self.journal_path.open("ab", buffering=0)

    def _reset_hash(self) -> None:
        self._sha256, self._hashed = hashlib.sha256(), 0
        self._reader = FileIO(self.path)


class BackgroundSync:
    """Calls fsync in a background thread during a download, so that little is left to flush at its end.

    Errors of the disk are raised by a later call as OSError.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fsync")
        self._pending: Future[None] | None = None
        self._flushed = 0

    def flush_if_due(self, written: int) -> None:
        """Start a flush if the file, now of `written` bytes, has grown by `SYNC_INTERVAL`. Does not wait."""
        if written - self._flushed < SYNC_INTERVAL or (self._pending and not self._pending.done()):
            return
        if self._pending:
            self._pending.result()
        self._flushed = written
        self._pending = self._thread.submit(os.fsync, self._descriptor)

    def flush_rest(self, written: int) -> "Future[None]":
        """Start the last flush of a complete file of `written` bytes. The future raises any error of the disk."""
        previous, self._flushed = self._pending, written
        self._pending = self._thread.submit(self._flush_after, previous)
        return self._pending

    def reset(self) -> None:
        """Count from zero after the file was truncated."""
        self._flushed = 0

    def close(self) -> None:
        """Wait for the pending flush, so that the descriptor can be closed."""
        self._thread.shutdown()

    def _flush_after(self, previous: "Future[None] | None") -> None:
        if previous:
            previous.result()  # the system reports a write error to one call of fsync only
        os.fsync(self._descriptor)


def part_path(target: Path) -> Path:
    """Return the path of the partial file of `target`."""
    return target.with_name(f"{target.name}.part")


def resumable_bytes(path: Path) -> int:
    """Return how many bytes the partial file `path` holds for a later run."""
    size = path.stat().st_size if path.is_file() else 0
    return count_bytes(_read_journal(_journal_path(path), size)[1])


def merge_ranges(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Sort ranges, join those that touch or overlap, and drop empty ones.

    >>> merge_ranges([(8, 9), (0, 4), (4, 6), (5, 5)])
    ((0, 6), (8, 9))
    """
    merged: list[ByteRange] = []
    for start, stop in sorted(each for each in ranges if each[0] < each[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return tuple(merged)


def missing_ranges(ranges: Iterable[ByteRange], size: int) -> tuple[ByteRange, ...]:
    """Return the gaps in the first `size` bytes.

    >>> missing_ranges([(2, 4)], size=10)
    ((0, 2), (4, 10))
    """
    missing, at = [], 0
    for start, stop in merge_ranges(ranges):
        if at < min(start, size):
            missing.append((at, min(start, size)))
        at = max(at, stop)
    return (*missing, (at, size)) if at < size else tuple(missing)


def split_ranges(ranges: Iterable[ByteRange], max_bytes: int) -> tuple[ByteRange, ...]:
    """Split ranges into ranges of at most `max_bytes` bytes.

    >>> split_ranges([(0, 5)], max_bytes=2)
    ((0, 2), (2, 4), (4, 5))
    """
    return tuple((at, min(at + max_bytes, stop)) for start, stop in ranges for at in range(start, stop, max_bytes))


def contiguous_bytes(ranges: Iterable[ByteRange]) -> int:
    """Count the bytes without a gap from the start of the file."""
    start, stop = next(iter(merge_ranges(ranges)), (0, 0))
    return stop if start == 0 else 0


def count_bytes(ranges: Iterable[ByteRange]) -> int:
    """Count the bytes in all ranges."""
    return sum(stop - start for start, stop in merge_ranges(ranges))


def _journal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.jsonl")


def _read_journal(path: Path, size: int) -> tuple[FileVersion | None, tuple[ByteRange, ...]]:
    """Read a journal up to the first invalid line. Ignores ranges beyond the `size` of the partial file."""
    try:
        first, *lines = read_bytes(path, max_bytes=MAX_JOURNAL_BYTES).splitlines()
        version = _VERSION.validate_python(parse_json(first))
    except (OSError, ValueError):  # pydantic's errors are ValueErrors
        return None, ()
    ranges = []
    for line in lines:
        try:
            start, stop = _RANGE.validate_python(parse_json(line))
        except ValueError:
            break
        if 0 <= start < stop <= size:
            ranges.append((start, stop))
    return version, merge_ranges(ranges)
