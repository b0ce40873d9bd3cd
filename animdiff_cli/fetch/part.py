"""A download that is not complete yet: `name.part`, and beside it a journal of the spans that have arrived.

The journal `name.part.jsonl` begins with what the server said the file is; each further line is one span. A span is
written down after its bytes are, so the journal never promises what the file does not hold, whenever the program ends.
"""

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import IO

from animdiff_cli.fetch.disk_writer import DiskWriter
from animdiff_cli.fetch.spans import Span, frontier, gaps, merge, total
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.untrusted import parse_json

PIECE = 1 << 20  # bytes hashed at a time


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one version of a file on a server from another."""

    size: int | None  # bytes
    validator: str | None  # ETag or date
    sha256: str | None  # what it must turn out to be, where that is known


class Part:
    """Bytes that have arrived, wherever in the file. Threads may write at once; one reader hashes behind them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal_path = path.with_name(f"{path.name}.jsonl")
        self.identity, self.spans = _read_journal(self.journal_path, path.stat().st_size if path.exists() else 0)
        self.resumed = bool(self.spans)
        self._lock = threading.Lock()
        self._buffer = memoryview(bytearray(PIECE))
        self._file: IO[bytes] = path.open("r+b" if self.spans else "wb", buffering=0)
        self._disk = DiskWriter(self._file.fileno())
        self._journal = self._open_journal()
        self._forget_hash()

    def begin(self, identity: Identity | None) -> None:
        """Forget every byte and start on another version of the file."""
        with self._lock:
            self._journal.close()
            self.journal_path.unlink()  # first: a journal must not outlive the bytes it vouches for
            self._file.truncate(0)
            self._disk.start_over()
            self.identity, self.spans, self.resumed = identity, (), False
            self._journal = self._open_journal()
            self._reader.close()
            self._forget_hash()

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes in their place, then write that down; on a full disk, as many as still fit."""
        with self._lock:
            self._file.seek(offset)
            left = memoryview(data)
            try:
                while left:
                    left = left[self._file.write(left) :]
            finally:
                self._write_down((offset, offset + len(data) - len(left)))

    def _write_down(self, span: Span) -> None:
        if self.identity is None or self.identity.sha256 is None:
            # no hash will notice bytes that a power cut took: they must be on disk before they count
            os.fsync(self._file.fileno())
        self.spans = merge((*self.spans, span))
        self._journal.write(f"{json.dumps(span)}\n".encode())

    @property
    def done(self) -> int:
        """Bytes that are here."""
        return total(self.spans)

    def missing(self, size: int) -> tuple[Span, ...]:
        """Spans of a file of `size` bytes that are not here."""
        return gaps(self.spans, size)

    def advance_hash(self) -> bool:
        """Hash one more piece of what is here without a gap; False when there is none. The disk is kept at work."""
        self._disk.follow(self.done)
        # without the lock: spans are only ever replaced, and whoever writes must not hold up the one who hashes
        amount = min(frontier(self.spans) - self._hashed, PIECE)
        if amount <= 0:
            return False
        read = self._reader.readinto(self._buffer[:amount])
        self._sha256.update(self._buffer[:read])
        self._hashed += read
        return read > 0

    def sha256(self) -> str:
        """Finish hashing; the digest of everything without a gap from the beginning. The disk catches up meanwhile."""
        on_disk = self._disk.finish(self.done)
        while self.advance_hash():
            pass
        on_disk.result()
        return self._sha256.hexdigest()

    def become(self, target: Path) -> None:
        """Give the whole file its name; its bytes survive a power cut from here on."""
        os.fsync(self._file.fileno())
        self.close()
        self.path.replace(target)  # before the journal goes: ending in between must not cost the bytes
        self.journal_path.unlink()

    def discard(self) -> None:
        """Remove it."""
        self.close()
        self.journal_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files, which stay for a later run."""
        self._disk.close()
        for file in (self._file, self._journal, self._reader):
            file.close()

    def _open_journal(self) -> IO[bytes]:
        """Write the journal anew: a line that was cut short must not run into the next one."""
        lines = [json.dumps(asdict(self.identity)) if self.identity else "null", *map(json.dumps, self.spans)]
        atomic_write_text(self.journal_path, "".join(f"{line}\n" for line in lines))
        return self.journal_path.open("ab", buffering=0)

    def _forget_hash(self) -> None:
        self._sha256, self._hashed = hashlib.sha256(), 0
        self._reader = FileIO(self.path)


def bytes_waiting(path: Path) -> int:
    """Count the bytes an earlier run left in `path` for a later one."""
    size = path.stat().st_size if path.is_file() else 0
    return total(_read_journal(path.with_name(f"{path.name}.jsonl"), size)[1])


def _read_journal(path: Path, size: int) -> tuple[Identity | None, tuple[Span, ...]]:
    """Read as far as the journal makes sense; spans beyond the `size` of the file are not believed."""
    try:
        first, *lines = path.read_text().splitlines()
        identity = Identity(**parse_json(first))
    except (OSError, ValueError, TypeError):
        return None, ()
    spans = []
    for line in lines:
        try:
            start, stop = parse_json(line)
        except (ValueError, TypeError):
            break
        if 0 <= start < stop <= size:
            spans.append((start, stop))
    return identity, merge(spans)
