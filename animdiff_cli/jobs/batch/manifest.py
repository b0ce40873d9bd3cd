"""The manifest of a batch: what happened to each job, in `manifest.jsonl` in the output folder.

JSON Lines, appended to and never changed. The last line of a job counts. Shard 1 of 3 writes `manifest-1-of-3.jsonl`;
readers take all manifests of a folder together.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from animdiff_cli.core.formats import Format
from animdiff_cli.core.text import json_line
from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.jobs.batch.stamps import Stamp

VERSION: Final = 1
State = Literal["queued", "started", "done", "failed", "interrupted"]


class Failure(BaseModel):
    """Why a job failed. `traceback` is that of a bug, which has exit code 1."""

    model_config = ConfigDict(frozen=True)

    message: str
    hint: str | None = None
    code: int = 1
    traceback: str | None = None


class Line(BaseModel):
    """One line of a manifest. Keys that a state does not have are left out."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = VERSION
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    job: str = Field(description="Fingerprint of the job.")
    state: State
    name: str = Field(description="Where the job stands in the batch file.")
    worker: str | None = Field(None, description="The worker process, where there are several.")
    attempt: int = 1
    threads: int | None = Field(None, description="CPU threads of a render on a CPU, whose last bits depend on them.")
    config: Mapping[str, Any]
    outputs: Mapping[Format, Stamp] | None = None
    seconds: float | None = None
    error: Failure | None = None

    def text(self) -> str:
        """Return the line without its end."""
        return json_line(self.model_dump(mode="json", exclude_none=True), ascii_only=True)


class Manifests:
    """All manifests of a folder, read as far as they have grown. `own` is the one this run appends to."""

    def __init__(self, folder: Path, own: str = "manifest.jsonl") -> None:
        self.folder = folder
        self.path = folder / own
        self.notes: list[str] = []  # damaged lines
        self._lock = threading.Lock()  # several threads ask
        self._latest: dict[str, Line] = {}
        self._sources: dict[str, Path] = {}  # the manifest that each of these is from
        self._read: dict[Path, tuple[int, int]] = {}  # bytes and lines read of each manifest

    def latest(self) -> Mapping[str, Line]:
        """Read what was appended since the last call, and return the last line of each job by its fingerprint.

        Raises `UsageError` for a manifest of a later version, or one that cannot be read.
        """
        with self._lock, readable_output_failures(self.path):
            for path in sorted(self.folder.glob("manifest*.jsonl")):
                for line in self._new_lines(path):
                    if self._counts(line, path):
                        self._latest[line.job], self._sources[line.job] = line, path
        return self._latest

    def _counts(self, line: Line, path: Path) -> bool:
        """Return whether a line replaces what is known of its job. `queued` is only the beginning."""
        known = self._latest.get(line.job)
        if known is None:
            return True
        return line.state != "queued" and (self._sources[line.job] == path or line.time >= known.time)

    def append(self, *lines: Line) -> None:
        """Append lines and flush them to the disk. Raises `UsageError`, for example if the disk is full."""
        with readable_output_failures(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                _append(descriptor, "".join(f"{line.text()}\n" for line in lines).encode("ascii"))
            finally:
                os.close(descriptor)

    def _new_lines(self, path: Path) -> Iterator[Line]:
        start, number = self._read.get(path, (0, 0))
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if start == 0 and len(whole) < len(content):
            self.notes.append(f"the last line of `{path}` is incomplete and not used: its writer was stopped")
        self._read[path] = (start + len(whole), number + whole.count(b"\n"))
        for index, text in enumerate(whole.split(b"\n")[:-1], start=number + 1):
            if text.strip() and (line := self._parsed(text, f"{path}:{index}")):
                yield line

    def _parsed(self, text: bytes, place: str) -> Line | None:
        try:
            values = parse_json(text)
            if isinstance(values, dict) and isinstance(values.get("version"), int) and values["version"] > VERSION:
                raise UsageError(
                    f"`{place}` was written by a later animdiff (manifest version {values['version']})",
                    hint="upgrade with `pip install --upgrade animdiff`",
                )
            return Line.model_validate(values)
        except (ValueError, ValidationError):
            self.notes.append(f"`{place}` is damaged and not used")
            return None


def _append(descriptor: int, text: bytes) -> None:
    """Append lines in one write, so that those of several processes do not mix, or nothing at all."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = b"\n" + text  # after a line whose writer was stopped
    written = 0
    try:
        while written < len(text):
            written += os.write(descriptor, text[written:])
        os.fsync(descriptor)
    except OSError:
        if os.fstat(descriptor).st_size == size + written:  # no other process has appended since
            os.ftruncate(descriptor, size)
        raise
