"""How far a batch is, from its manifests. Loads no weights and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from animdiff_cli.core.text import counted
from animdiff_cli.errors import NotFound
from animdiff_cli.jobs.batch.locks import JobLocks
from animdiff_cli.jobs.batch.manifest import Line, Manifests
from animdiff_cli.jobs.batch.mirror import Mirror, state_folder
from animdiff_cli.storage.location import RemotePath, location

State = Literal["done", "running", "failed", "interrupted", "waiting"]
STATES: Final[tuple[State, ...]] = ("done", "running", "failed", "interrupted", "waiting")
LAST_CLIPS = 20  # of which the speed is computed


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The jobs of a batch by state, and its speed."""

    jobs: Mapping[State, tuple[Line, ...]]  # in the order of their last change
    now: datetime
    notes: tuple[str, ...] = ()  # damaged lines

    def summary(self) -> str:
        """Return the counts in words."""
        total = sum(map(len, self.jobs.values()))
        counts = (f"{len(self.jobs[state])} {state}" for state in STATES if self.jobs[state] or state == "done")
        return f"{counted(total, 'clip')}: {', '.join(counts)}"

    @property
    def is_ended(self) -> bool:
        """Whether no job is left to render, apart from those that failed."""
        return not any(self.jobs[state] for state in ("running", "interrupted", "waiting"))

    @property
    def clips_per_hour(self) -> float | None:
        """The speed of the clips that are being rendered, if each takes as long as the last ones; None without any."""
        last = self.jobs["done"][-LAST_CLIPS:]
        seconds = sum(line.seconds or 0 for line in last)
        return 3600 * len(last) * len(self.jobs["running"]) / seconds if seconds and self.jobs["running"] else None

    @property
    def seconds_left(self) -> float | None:
        """The time left at that speed, counting the clips that are being rendered as half done."""
        left = len(self.jobs["waiting"]) + len(self.jobs["interrupted"]) + len(self.jobs["running"]) / 2
        return 3600 * left / self.clips_per_hour if self.clips_per_hour else None

    def age(self, line: Line) -> float | None:
        """Return the seconds since a line was written; None if it has no valid time."""
        try:
            return max((self.now - datetime.fromisoformat(line.time)).total_seconds(), 0)
        except (ValueError, TypeError):
            return None


class StatusReader:
    """Reads the manifests of an output folder, on this machine or a storage system, as often as asked.

    `name` is the folder or one of its manifests. Raises `NotFound` for a folder without any, `AnimdiffError` for one
    that cannot be read.
    """

    def __init__(self, name: str) -> None:
        folder = location(name)
        if folder.suffix == ".jsonl":
            folder = folder.parent
        self._name = name
        self._mirror = None
        self._locks = None
        if isinstance(folder, RemotePath):
            state = state_folder(folder)
            self._mirror = Mirror(folder, state, "")
            self._manifests = Manifests(state)
        else:
            self._manifests = Manifests(folder)
            self._locks = JobLocks(folder)

    def read(self) -> BatchStatus:
        """Return the status now."""
        if self._mirror:
            self._mirror.pull()
        latest = self._manifests.latest()
        if not latest:
            hint = "a batch writes `manifest.jsonl` into its output folder"
            raise NotFound(f"no manifest of a batch in `{self._name}`", hint=hint)
        jobs: dict[State, list[Line]] = {state: [] for state in STATES}
        for line in sorted(latest.values(), key=lambda line: line.time):
            jobs[self._state(line)].append(line)
        notes = tuple(self._manifests.notes)
        return BatchStatus({state: tuple(lines) for state, lines in jobs.items()}, datetime.now(UTC), notes)

    def _state(self, line: Line) -> State:
        if line.state == "started":
            # on a storage system, the locks are those of the machine that renders
            return "running" if self._locks is None or self._locks.is_held(line.job) else "interrupted"
        return "waiting" if line.state == "queued" else line.state
