"""The state of a running batch, from its event records: what each worker does, counts, and the time left."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from animdiff_cli.core.text import counted, format_duration

if TYPE_CHECKING:  # pydantic takes a tenth of a second, and `animdiff --help` imports this module
    from animdiff_cli.core.event_records import Record

State = Literal["waiting", "running", "done", "failed", "interrupted", "skipped"]

#: events that change the state of a job
_STATES: dict[str, State] = {
    "queued": "waiting",
    "started": "running",
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted",
    "skipped": "skipped",
}


@dataclass(slots=True)
class Running:
    """A clip that is being rendered."""

    worker: str
    since: float  # seconds
    stage: str = "starting"
    share: float = 0.0  # of its steps


@dataclass(slots=True)
class BatchProgress:
    """Follows the records of a batch. Times are seconds of one clock that the caller reads."""

    names: dict[str, str] = field(default_factory=dict)  # by job
    states: dict[str, State] = field(default_factory=dict)
    counts: Counter[State] = field(default_factory=Counter)
    running: dict[str, Running] = field(default_factory=dict)
    began: float | None = None  # when the first clip started
    notes: set[str] = field(default_factory=set)

    def update(self, record: "Record", now: float) -> None:
        """Apply one record. Events that are not known change nothing."""
        job, event = record["job"], record["event"]
        if job is None:
            return
        if event in _STATES:
            before, state = self.states.get(job), "waiting" if record.get("retry") else _STATES[event]
            if before:
                self.counts[before] -= 1
            self.counts[state] += 1
            self.states[job] = state
            self.running.pop(job, None)
        match record:
            case {"event": "queued", "name": name}:
                self.names[job] = name
            case {"event": "started"}:
                self.running[job] = Running(record.get("worker", ""), now)
                self.began = now if self.began is None else self.began
            case _ if job in self.running:
                _follow(self.running[job], record)

    def is_new(self, note: str) -> bool:
        """Return True for the first note of its text: many clips may have the same."""
        is_new = note not in self.notes
        self.notes.add(note)
        return is_new

    @property
    def num_ended(self) -> int:
        """Number of jobs that need no more work in this run."""
        return len(self.states) - self.counts["waiting"] - self.counts["running"]

    def clips_per_hour(self, now: float) -> float | None:
        """Return the speed of this run; None until a clip is done."""
        done, elapsed = self.counts["done"], 0.0 if self.began is None else now - self.began
        return 3600 * done / elapsed if done and elapsed > 0 else None

    def seconds_left(self, now: float) -> float | None:
        """Return the time left, if clips go on at the speed so far; None until a clip is done."""
        if self.clips_per_hour(now) is None or self.began is None:
            return None
        begun = sum(clip.share for clip in self.running.values())
        left = self.counts["waiting"] + self.counts["running"] - begun
        return left * (now - self.began) / (self.counts["done"] + begun)

    def summary(self) -> str:
        """Return the counts in words."""
        states: tuple[State, ...] = ("done", "running", "failed", "interrupted", "waiting")
        counts = [f"{self.counts[state]} {state}" for state in states if self.counts[state] or state == "done"]
        skipped = [f"{self.counts['skipped']} done before"] if self.counts["skipped"] else []
        return f"{counted(len(self.states), 'clip')}: {', '.join([*counts, *skipped])}"

    def speed(self, now: float) -> str:
        """Return clips per hour and the time left in words; empty until a clip is done."""
        return describe_speed(self.clips_per_hour(now), self.seconds_left(now))


def describe_speed(clips_per_hour: float | None, seconds_left: float | None) -> str:
    """Return clips per hour and the time left in words; empty if the speed is not known.

    >>> describe_speed(2.04, 5400), describe_speed(180, None)
    ('2.0 clips/h, 1 h 30 min left', '180 clips/h')
    """
    if clips_per_hour is None:
        return ""
    rate = f"{clips_per_hour:.0f} clips/h" if clips_per_hour >= 10 else f"{clips_per_hour:.1f} clips/h"
    return f"{rate}, {format_duration(seconds_left)} left" if seconds_left else rate


def _follow(clip: Running, record: "Record") -> None:
    """Update the stage of a clip."""
    match record:
        case {"event": "loading", "what": what}:
            clip.stage = f"loading {what}"
        case {"event": "step", "step": step, "steps": steps, "window": window, "windows": windows}:
            clip.stage = f"step {step}/{steps}, window {window}/{windows}"
            clip.share = (step + window / windows) / steps
        case {"event": "step", "step": step, "steps": steps}:
            clip.stage, clip.share = f"step {step}/{steps}", step / steps
        case {"event": "decoding", "frame": frame, "frames": frames}:
            clip.stage = f"decoding {frame}/{frames}"
