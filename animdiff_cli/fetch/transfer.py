"""The downloader: one file from one address, resumed where it stopped, hashed while it arrives.

Works in rounds. A round opens connections for what is missing and ends when all of it has arrived or a connection
failed; then what arrived is kept, and after a pause the next round asks for the rest.
"""

import time
from pathlib import Path

from animdiff_cli.core.events import Emit, Note
from animdiff_cli.errors import IntegrityError, NetworkError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.http import PROXY_HINT, Answer, RangeRefused, TransientError, ask, host, open_session
from animdiff_cli.fetch.integrity import check
from animdiff_cli.fetch.part import Identity, Part
from animdiff_cli.fetch.remote import Digest, Remote
from animdiff_cli.fetch.segments import Changed, SegmentedDownload
from animdiff_cli.fetch.spans import Span, gaps, split

SEGMENT = 32 << 20  # bytes one request asks for
MOST_CHANGES = 3  # versions of a file to begin on before giving up
WORTHWHILE = 64 << 10  # bytes that make a failed round count as progress


def transfer(remote: Remote, target: Path, network: Network, emit: Emit) -> Digest:
    """Bring a file to `target`, which appears when it is whole and has the right hash.

    Until then it grows as `target.part`, and what an earlier run left there is used. Raises NetworkError, NotFound
    or IntegrityError; after the last, and only then, nothing is left to resume.
    """
    part = Part(part_path(target))
    try:
        digest = _attempt(remote, part, network, emit)
        if remote.sha256 not in (None, digest.sha256) and part.resumed:
            # what an earlier run left may have come to harm since; only a fresh copy tells
            emit(Note(f"{remote.name}: what an earlier run left is not what it should be, starting again"))
            part.begin(None)
            digest = _attempt(remote, part, network, emit)
        try:
            check(remote, digest, part.path)
        except IntegrityError:
            part.discard()
            raise
        part.become(target)
    finally:
        part.close()
    return digest


def part_path(target: Path) -> Path:
    """Where a file grows until it is whole."""
    return target.with_name(f"{target.name}.part")


def _attempt(remote: Remote, part: Part, network: Network, emit: Emit) -> Digest:
    _Rounds(remote, part, network, emit).run()
    identity = part.identity
    return Digest(part.sha256(), part.done, identity.validator if identity else None)


class _Rounds:
    """The rounds of one file."""

    def __init__(self, remote: Remote, part: Part, network: Network, emit: Emit) -> None:
        self._remote, self._part, self._network, self._emit = remote, part, network, emit
        self._ranges = True  # ask for spans until the server shows that it cannot
        self._whole = False  # the end was seen of a file whose size nobody told

    def run(self) -> None:
        """Go on until everything is here, or patience is at its end."""
        vain = changes = 0
        while not self._is_complete():
            before = self._part.done
            try:
                self._round()
            except (Changed, RangeRefused) as failure:
                changes += 1
                self._ranges = self._ranges and isinstance(failure, Changed)
                self._start_again(changes)
            except TransientError as failure:
                vain = 1 if self._part.done - before >= WORTHWHILE else vain + 1
                self._pause(failure, vain)

    def _is_complete(self) -> bool:
        identity = self._part.identity
        if identity is None or identity.size is None:
            return self._whole
        return not self._part.missing(identity.size)

    def _start_again(self, changes: int) -> None:
        if changes > MOST_CHANGES:
            site = host(self._remote.url)
            raise NetworkError(f"{self._remote.name} keeps changing on {site}", hint="run it again later")
        if self._part.done:
            self._emit(Note(f"{self._remote.name} has changed on the server, starting again"))
        self._part.begin(None)

    def _pause(self, failure: TransientError, vain: int) -> None:
        wait_s = self._network.retry_policy.wait_s(vain, failure.wait_s)
        if wait_s is None:
            raise failure.error from failure
        self._emit(Note(f"{self._remote.name}: {failure}; trying again in {wait_s:.0f} s"))
        time.sleep(wait_s)

    def _round(self) -> None:
        part = self._part
        if part.done and not self._may_resume():
            part.begin(None)
        size = part.identity.size if part.identity else None
        asked = split(part.missing(size), SEGMENT)[0] if size else (0, SEGMENT)
        with open_session(self._network) as session:
            answer = ask(session, self._remote.url, self._network, asked if self._ranges else None)
            self._agree(answer, asked)
            crew = SegmentedDownload(self._remote, part, self._network, self._emit)
            if answer.is_partial and answer.stop is not None:
                here = (answer.start, min(answer.stop, asked[1]))
                crew.bring(session, answer, here, split(gaps((*part.spans, here), answer.size or 0), SEGMENT))
            else:
                crew.bring(session, answer, (0, answer.stop), ())
                self._whole = answer.size is None

    def _may_resume(self) -> bool:
        """Bytes are worth keeping when something will tell whether the rest belongs to them."""
        identity = self._part.identity
        return bool(self._ranges and identity and identity.size and (identity.validator or identity.sha256))

    def _agree(self, answer: Answer, asked: Span) -> None:
        """Make the part one of the file that the server offers now, or refuse that file."""
        site = host(self._remote.url)
        if self._remote.pinned and answer.size is not None and self._remote.size not in (None, answer.size):
            raise IntegrityError(
                f"{self._remote.name}: {answer.size} bytes on {site}, should be {self._remote.size}",
                hint="the file there was replaced: try again later, or name another source",
            )
        if answer.size is None and not self._remote.sha256 and not answer.is_chunked:
            raise NetworkError(f"{site} does not say how long {self._remote.name} is", hint=PROXY_HINT)
        if answer.is_partial and (answer.start != asked[0] or answer.size is None):
            self._ranges = False  # its idea of a range is its own: take the file in one go
            raise TransientError(
                NetworkError(f"{site} sends other bytes than it is asked for", hint="run it again later")
            )
        offered = Identity(answer.size, answer.validator, self._remote.sha256)
        if answer.is_partial and self._part.done and self._part.identity != offered:
            raise Changed
        if not answer.is_partial or self._part.identity != offered:
            self._part.begin(offered)
