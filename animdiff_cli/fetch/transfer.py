"""Download one file from one URL: resumable, hashed while it downloads.

A download takes one or more attempts. An attempt opens connections for the missing ranges and ends when all of them
have arrived or a connection has failed. Received bytes are kept; after a delay, the next attempt requests the rest.
"""

import time
from pathlib import Path

from animdiff_cli.core.events import Emit, Note
from animdiff_cli.errors import IntegrityError, NetworkError
from animdiff_cli.fetch.http import (
    PROXY_HINT,
    FileResponse,
    RangeNotSatisfiable,
    TransientError,
    get_file,
    open_session,
)
from animdiff_cli.fetch.network import Network, host
from animdiff_cli.fetch.part import ByteRange, FileVersion, PartialFile, missing_ranges, part_path, split_ranges
from animdiff_cli.fetch.remote import Digest, RemoteFile, verify
from animdiff_cli.fetch.segments import RemoteFileChanged, SegmentedDownload
from animdiff_cli.fetch.storage import download_stored, is_stored

SEGMENT_BYTES = 32 << 20  # per request
MAX_RESTARTS = 3  # because the remote file has changed
MIN_PROGRESS = 64 << 10  # bytes received in a failed attempt that reset the retry count


def download_file(remote: RemoteFile, target: Path, network: Network, emit: Emit) -> Digest:
    """Download a file to `target`, which appears once it is complete and its hash is verified.

    Downloads to `target.part` and resumes a partial download of an earlier run. Raises NetworkError, NotFound or
    IntegrityError. Only a failed verification removes the partial download.
    """
    part = PartialFile(part_path(target))
    try:
        digest = _download(remote, part, network, emit)
        if remote.sha256 not in (None, digest.sha256) and part.resumed:
            # bytes of the earlier run may be damaged: only a fresh download shows whether the server's file is right
            emit(Note(f"{remote.name}: the partial download of an earlier run is damaged, starting again"))
            part.restart(None)
            digest = _download(remote, part, network, emit)
        try:
            verify(remote, digest, part.path)
        except IntegrityError:
            part.discard()
            raise
        part.finalize(target)
    finally:
        part.close()
    return digest


def _download(remote: RemoteFile, part: PartialFile, network: Network, emit: Emit) -> Digest:
    if is_stored(remote.url):
        return download_stored(remote, part, emit)
    return _Download(remote, part, network, emit).run()


class _Download:
    """Repeated attempts to complete a partial file."""

    def __init__(self, remote: RemoteFile, part: PartialFile, network: Network, emit: Emit) -> None:
        self._remote, self._part, self._network, self._emit = remote, part, network, emit
        self._use_ranges = True  # until the server turns out not to support them
        self._reached_end = False  # of a file of unknown size

    def run(self) -> Digest:
        """Repeat attempts until the file is complete. Raises the last failure when the retries are exhausted."""
        failures = restarts = 0
        while not self._is_complete():
            before = self._part.received
            try:
                self._attempt()
            except (RemoteFileChanged, RangeNotSatisfiable) as failure:
                restarts += 1
                self._use_ranges = self._use_ranges and isinstance(failure, RemoteFileChanged)
                self._restart(restarts)
            except TransientError as failure:
                failures = 1 if self._part.received - before >= MIN_PROGRESS else failures + 1
                self._wait(failure, failures)
        version = self._part.version
        return Digest(self._part.sha256(), self._part.received, version.validator if version else None)

    def _is_complete(self) -> bool:
        version = self._part.version
        if version is None or version.size is None:
            return self._reached_end
        return not self._part.missing(version.size)

    def _restart(self, restarts: int) -> None:
        if restarts > MAX_RESTARTS:
            message = f"{self._remote.name} keeps changing on {host(self._remote.url)}"
            raise NetworkError(message, hint="run it again later")
        if self._part.received:
            self._emit(Note(f"{self._remote.name} has changed on the server, starting again"))
        self._part.restart(None)

    def _wait(self, failure: TransientError, failures: int) -> None:
        delay_s = self._network.retry_policy.delay_s(failures, failure.wait_s)
        if delay_s is None:
            raise failure.error from failure
        self._emit(Note(f"{self._remote.name}: {failure}; retrying in {delay_s:.0f} s"))
        time.sleep(delay_s)

    def _attempt(self) -> None:
        part = self._part
        if part.received and not self._can_resume():
            part.restart(None)
        size = part.version.size if part.version else None
        requested = split_ranges(part.missing(size), SEGMENT_BYTES)[0] if size else (0, SEGMENT_BYTES)
        with open_session(self._network) as session:
            first = get_file(session, self._remote.url, self._network, requested if self._use_ranges else None)
            self._accept(first, requested)
            download = SegmentedDownload(self._remote, part, self._network, self._emit)
            if first.is_partial and first.stop is not None:
                first_range = (first.start, min(first.stop, requested[1]))
                rest = missing_ranges((*part.ranges, first_range), first.size or 0)
                download.run(session, first, first_range, split_ranges(rest, SEGMENT_BYTES))
            else:
                download.run(session, first, (0, first.stop), ())
                self._reached_end = first.size is None

    def _can_resume(self) -> bool:
        """True if a validator or hash can show that received bytes and the rest belong to the same version."""
        version = self._part.version
        return bool(self._use_ranges and version and version.size and (version.validator or version.sha256))

    def _accept(self, first: FileResponse, requested: ByteRange) -> None:
        """Check the first response and start the partial file on its version, or raise if it cannot be used."""
        name, site = self._remote.name, host(self._remote.url)
        if self._remote.exact_size and first.size is not None and self._remote.size not in (None, first.size):
            raise IntegrityError(
                f"{name}: expected {self._remote.size} bytes, {site} has {first.size}",
                hint="the file was replaced on the server: try again later, or name another source",
            )
        if first.size is None and not self._remote.sha256 and not first.is_chunked:
            raise NetworkError(f"{site} does not report the size of {name}", hint=PROXY_HINT)
        if first.is_partial and (first.start != requested[0] or first.size is None):
            self._use_ranges = False
            message = f"{site} sent other bytes than requested"
            raise TransientError(NetworkError(message, hint="run it again later"))
        version = FileVersion(first.size, first.validator, self._remote.sha256)
        if first.is_partial and self._part.received and self._part.version != version:
            raise RemoteFileChanged
        if not first.is_partial or self._part.version != version:
            self._part.restart(version)
