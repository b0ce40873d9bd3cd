"""The hands of the downloader: several connections that bring spans of one file, and one that hashes behind them."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import requests
from urllib3.exceptions import HTTPError

from animdiff_cli.core.events import BytesReceived, Emit
from animdiff_cli.errors import NetworkError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.http import Answer, TransientError, ask, host, open_session
from animdiff_cli.fetch.part import Part
from animdiff_cli.fetch.remote import Remote
from animdiff_cli.fetch.spans import Span

CONNECTIONS = 4
FLUSH_BYTES, FLUSH_S = 1 << 20, 0.05  # received bytes are written down at least this often
READ = 1 << 18  # bytes asked of the socket at a time: memory is set aside for all of them before one has come
TELL_S = 0.1  # between two events


class Changed(Exception):
    """The server's file is not the one that was begun."""


class SegmentedDownload:
    """One round of one file."""

    def __init__(self, remote: Remote, part: Part, network: Network, emit: Emit) -> None:
        self._remote, self._part, self._network, self._emit = remote, part, network, emit
        self._enough = threading.Event()
        self._failures: list[BaseException] = []
        self._told = 0.0

    def bring(
        self, session: requests.Session, answer: Answer, span: tuple[int, int | None], rest: Sequence[Span]
    ) -> None:
        """Receive `span` from an answer that has begun, and ask for `rest` on further connections.

        A failed connection does not stop the others. Raises the gravest failure when all have ended.
        """
        queue = iter(rest)
        lock = threading.Lock()

        def take() -> Span | None:
            with lock:
                return None if self._enough.is_set() else next(queue, None)

        def first() -> None:
            self._receive(answer, span)
            self._serve(session, take, answer)

        def further() -> None:
            with open_session(self._network) as own:
                self._serve(own, take, answer)

        hands = [first, *[further] * min(CONNECTIONS - 1, len(rest))]
        # daemons: Ctrl-C must not wait for a server that says nothing
        threads = [threading.Thread(target=self._guarded, args=(hand,), daemon=True) for hand in hands]
        for thread in threads:
            thread.start()
        try:
            self._attend(threads, answer.size)
        finally:
            self._enough.set()
        if self._failures:
            raise min(self._failures, key=lambda failure: isinstance(failure, TransientError))

    def _attend(self, threads: Sequence[threading.Thread], size: int | None) -> None:
        """Hash what arrives and tell how far it is, until every thread has ended."""
        while alive := [thread for thread in threads if thread.is_alive()]:
            if not self._part.advance_hash():
                alive[0].join(TELL_S / 2)
            if time.monotonic() - self._told > TELL_S:
                self._told = time.monotonic()
                self._emit(BytesReceived(self._remote.name, self._part.done, size))
        self._emit(BytesReceived(self._remote.name, self._part.done, size))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # raised again where the round was begun
            self._failures.append(failure)
            if not isinstance(failure, TransientError):
                self._enough.set()

    def _serve(self, session: requests.Session, take: Callable[[], Span | None], begun: Answer) -> None:
        """Ask for one span after another, straight at the place where the first answer came from."""
        while span := take():
            answer = ask(session, self._remote.url, self._network, span, shortcut=begun.response.url)
            same = (answer.is_partial, answer.start) == (True, span[0])
            if not same or (answer.size, answer.validator) != (begun.size, begun.validator):
                answer.response.close()
                raise Changed
            self._receive(answer, span)

    def _receive(self, answer: Answer, span: tuple[int, int | None]) -> None:
        at, stop = span
        with answer.response as response:
            for piece in _pieces(response, None if stop is None else stop - at):
                self._part.write(at, piece)
                at += len(piece)
                if self._enough.is_set():
                    return
        if stop is not None and at < stop:
            raise TransientError(cut(self._remote.url))


def cut(url: str) -> NetworkError:
    """Word a connection that ended early or went silent."""
    return NetworkError(
        f"the connection to {host(url)} broke off", hint="run it again: it goes on where this one stopped"
    )


def _pieces(response: requests.Response, limit: int | None) -> Iterator[memoryview]:
    """Yield what arrives, up to `limit` bytes, in pieces of about a megabyte or a twentieth of a second.

    Each piece is overwritten by the next.
    """
    buffer, filled, since = memoryview(bytearray(FLUSH_BYTES + READ)), 0, time.monotonic()
    broken: Exception | None = None
    while limit is None or limit > 0:
        try:
            data = response.raw.read1(READ if limit is None else min(READ, limit), decode_content=False)
        except (HTTPError, OSError) as error:
            broken = error
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
    if broken:
        raise TransientError(cut(response.url)) from broken
