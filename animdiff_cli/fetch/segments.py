"""Segmented download: worker threads request ranges of one file in parallel while the caller hashes the bytes."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import requests
from urllib3.exceptions import HTTPError

from animdiff_cli.core.events import BytesReceived, Emit
from animdiff_cli.errors import NetworkError
from animdiff_cli.fetch.http import FileResponse, TransientError, get_file, open_session
from animdiff_cli.fetch.network import Network, host
from animdiff_cli.fetch.part import ByteRange, PartialFile
from animdiff_cli.fetch.remote import RemoteFile

MAX_CONNECTIONS = 4
FLUSH_BYTES, FLUSH_S = 1 << 20, 0.05  # write received bytes at least this often
READ_BYTES = 1 << 18  # per read of a socket, which allocates all of them in advance
REPORT_INTERVAL_S = 0.1


class RemoteFileChanged(Exception):
    """The file on the server differs from the version that the download started on."""


class SegmentedDownload:
    """One attempt to download the missing ranges of a file."""

    def __init__(self, remote: RemoteFile, part: PartialFile, network: Network, emit: Emit) -> None:
        self._remote, self._part, self._network, self._emit = remote, part, network, emit
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._last_report = 0.0

    def run(
        self,
        session: requests.Session,
        first: FileResponse,
        first_range: tuple[int, int | None],
        other_ranges: Sequence[ByteRange],
    ) -> None:
        """Receive `first_range` from the open response `first`, and request `other_ranges` on further connections.

        A failed connection does not stop the others. After all have ended, raises their most serious failure.
        """
        queue = iter(other_ranges)
        lock = threading.Lock()

        def next_range() -> ByteRange | None:
            with lock:
                return None if self._stop.is_set() else next(queue, None)

        def first_worker() -> None:
            self._receive(first, first_range)
            self._download_ranges(session, next_range, first)

        def further_worker() -> None:
            with open_session(self._network) as own_session:
                self._download_ranges(own_session, next_range, first)

        workers = [first_worker, *[further_worker] * min(MAX_CONNECTIONS - 1, len(other_ranges))]
        # daemon threads: Ctrl-C must not wait for a silent server
        threads = [threading.Thread(target=self._catch_failure, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            self._hash_until_done(threads, first.size)
        finally:
            self._stop.set()
        if self._failures:
            raise min(self._failures, key=lambda failure: isinstance(failure, TransientError))

    def _hash_until_done(self, threads: Sequence[threading.Thread], size: int | None) -> None:
        """Hash received bytes and report progress until all threads have ended."""
        while alive := [thread for thread in threads if thread.is_alive()]:
            if not self._part.hash_next_chunk():
                alive[0].join(REPORT_INTERVAL_S / 2)
            if time.monotonic() - self._last_report > REPORT_INTERVAL_S:
                self._last_report = time.monotonic()
                self._emit(BytesReceived(self._remote.name, self._part.received, size))
        self._emit(BytesReceived(self._remote.name, self._part.received, size))

    def _catch_failure(self, worker: Callable[[], None]) -> None:
        try:
            worker()
        except BaseException as failure:  # `run` raises it in the caller's thread
            self._failures.append(failure)
            if not isinstance(failure, TransientError):
                self._stop.set()

    def _download_ranges(
        self, session: requests.Session, next_range: Callable[[], ByteRange | None], first: FileResponse
    ) -> None:
        """Request ranges until none is left, directly from the URL that the first request was redirected to."""
        while byte_range := next_range():
            file = get_file(session, self._remote.url, self._network, byte_range, redirected_url=first.response.url)
            is_requested_range = file.is_partial and file.start == byte_range[0]
            if not is_requested_range or (file.size, file.validator) != (first.size, first.validator):
                file.response.close()
                raise RemoteFileChanged
            self._receive(file, byte_range)

    def _receive(self, file: FileResponse, byte_range: tuple[int, int | None]) -> None:
        """Write the body of a response to the partial file. Raises TransientError if the body is truncated."""
        at, stop = byte_range
        with file.response as response:
            for chunk in _read_chunks(response, None if stop is None else stop - at):
                self._part.write(at, chunk)
                at += len(chunk)
                if self._stop.is_set():
                    return
        if stop is not None and at < stop:
            raise TransientError(_connection_lost(self._remote.url))


def _connection_lost(url: str) -> NetworkError:
    return NetworkError(f"connection to {host(url)} lost", hint="run it again: the download resumes")


def _read_chunks(response: requests.Response, limit: int | None) -> Iterator[memoryview]:
    """Yield the body, up to `limit` bytes, in chunks of about `FLUSH_BYTES` or `FLUSH_S`, whichever comes first.

    Each chunk is a view of one buffer, valid until the next chunk.
    """
    buffer, filled, since = memoryview(bytearray(FLUSH_BYTES + READ_BYTES)), 0, time.monotonic()
    failure: Exception | None = None
    while limit is None or limit > 0:
        try:
            data = response.raw.read1(READ_BYTES if limit is None else min(READ_BYTES, limit), decode_content=False)
        except (HTTPError, OSError) as error:
            failure = error
            break
        if not data:
            break
        buffer[filled : filled + len(data)] = data
        filled += len(data)
        limit = None if limit is None else limit - len(data)
        if filled >= FLUSH_BYTES or time.monotonic() - since > FLUSH_S:
            yield buffer[:filled]
            filled, since = 0, time.monotonic()
    if filled:
        yield buffer[:filled]
    if failure:
        raise TransientError(_connection_lost(response.url)) from failure
