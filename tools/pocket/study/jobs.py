"""A job scheduler: parallel jobs with dependencies, critical path first, finished jobs skipped.

A job is done if its result exists and was made by the same command from the same inputs. A failed job stops only the
jobs that depend on it.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.pocket.report import write_json

Tell = Callable[[str], None]
LAST_LINES = 3  # of a failed job's log, to report
OUT_OF_TIME = "time"
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Job:
    """One command, or one call in this process, that creates `result`.

    `words` determine the result: a command without device and folders. `cost` is an estimate in seconds.
    """

    name: str
    phase: str
    result: Path
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()
    cost: float = 10.0
    command: tuple[str, ...] = ()
    call: Callable[[Path], None] | None = None  # receives the file to log to


@dataclass(slots=True)
class Outcome:
    """Names of done, failed and skipped jobs."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # with the end of their log
    left_out: dict[str, str] = field(default_factory=dict)  # with the missing dependency

    @property
    def complete(self) -> bool:
        """True if every job is done."""
        return not self.failed and not self.left_out

    @property
    def out_of_time(self) -> bool:
        """True if jobs were left for the next run."""
        return OUT_OF_TIME in self.left_out.values()


@dataclass
class Ledger:
    """Records of the jobs of a folder, one file for each: `done/NAME.json`, and `failed/NAME.json`."""

    folder: Path

    def record(self, name: str) -> Mapping[str, Any] | None:
        """Return when and from which inputs a result was made; None if it was not."""
        return _read(self.folder / "done" / f"{name}.json")

    def records(self) -> dict[str, Mapping[str, Any]]:
        """Return the records of all done jobs, by name."""
        files = sorted((self.folder / "done").glob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}

    def is_done(self, job: Job) -> bool:
        """Return True if the result of the job exists and its inputs have not changed."""
        kept = self.record(job.name)
        if kept is None or not job.result.exists():
            return False
        return {key: kept[key] for key in ("words", "from")} == self._made(job)

    def close(self, job: Job, seconds: float) -> None:
        """Record that the job is done."""
        (self.folder / "failed" / f"{job.name}.json").unlink(missing_ok=True)
        facts = {**self._made(job), "seconds": round(seconds, 1), "made": time.time_ns()}
        write_json(self.folder / "done" / f"{job.name}.json", facts)

    def fail(self, name: str, why: str) -> None:
        """Record that the job failed, with the end of its log."""
        write_json(self.folder / "failed" / f"{name}.json", {"why": why})

    def failures(self) -> dict[str, str]:
        """Return the log ends of the jobs that failed last time, by name."""
        files = sorted((self.folder / "failed").glob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8"))["why"] for file in files}

    def _made(self, job: Job) -> dict[str, Any]:
        sources = {need: (self.record(need) or {}).get("made") for need in job.needs}
        return {"words": list(job.words), "from": sources}


@dataclass
class Runner:
    """Runs jobs; `folder` contains the ledger and `logs/NAME.log`."""

    folder: Path
    parallel: int
    environment: Mapping[str, str]
    tell: Tell
    stop_at: float = float("inf")  # time.monotonic(); commands are interrupted then, and resume when run again
    on_stop: Callable[[], None] = lambda: None
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @cached_property
    def ledger(self) -> Ledger:
        """Return the records of `folder`."""
        return Ledger(self.folder)

    def run(self, jobs: Sequence[Job]) -> Outcome:
        """Run the jobs that are not done. Dependencies that are not in `jobs` must exist."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        outcome, urgency = Outcome(), urgencies(jobs)
        waiting = sorted(jobs, key=lambda job: -urgency[job.name])
        running: dict[Future[float], Job] = {}
        with ThreadPoolExecutor(self.parallel) as pool:
            while waiting or running:
                self._start_ready(waiting, running, pool, outcome)
                if running:
                    finished, _ = wait(running, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                    for future in finished:
                        self._settle(running.pop(future), future, outcome)
                if time.monotonic() >= self.stop_at:
                    self._interrupt(running)
        return outcome

    def _start_ready(
        self, waiting: list[Job], running: dict[Future[float], Job], pool: ThreadPoolExecutor, outcome: Outcome
    ) -> None:
        """Remove jobs from `waiting` that can start, are done already, or cannot run."""
        moved = True
        while moved:  # a job that is done unblocks its dependents
            moved = False
            pending = {job.name for job in (*waiting, *running.values())}
            for job in [job for job in waiting if pending.isdisjoint(job.needs)]:
                if missing := self._missing(job, outcome):
                    outcome.left_out[job.name] = missing
                elif self.ledger.is_done(job):
                    outcome.done.append(job.name)
                elif time.monotonic() >= self.stop_at:
                    outcome.left_out[job.name] = OUT_OF_TIME
                elif len(running) < self.parallel:
                    self.tell(f"{job.name}: begun")
                    running[pool.submit(self._do, job)] = job
                else:
                    continue
                waiting.remove(job)
                moved = True

    def _missing(self, job: Job, outcome: Outcome) -> str | None:
        """Return the first dependency of the job that will not be available."""
        broken = (need for need in job.needs if need in outcome.failed or need in outcome.left_out)
        absent = (need for need in job.needs if self.ledger.record(need) is None)
        return next(broken, None) or next(absent, None)

    def _settle(self, job: Job, future: Future[float], outcome: Outcome) -> None:
        error = future.exception()
        if error is None:
            seconds = future.result()
            self.ledger.close(job, seconds)
            outcome.done.append(job.name)
            self.tell(f"{job.name}: done in {seconds:.0f} s")
        elif time.monotonic() >= self.stop_at:
            outcome.left_out[job.name] = OUT_OF_TIME
        else:
            outcome.failed[job.name] = str(error)
            self.ledger.fail(job.name, str(error))
            self.tell(f"{job.name}: FAILED: {error}")

    def _do(self, job: Job) -> float:
        began, log = time.monotonic(), self.folder / "logs" / f"{job.name}.log"
        if job.call:
            job.call(log)
        else:
            self._command(job, log)
        if not job.result.exists():
            raise RuntimeError(f"it ended well, but there is no {job.result}")
        return time.monotonic() - began

    def _command(self, job: Job, log: Path) -> None:
        with log.open("ab") as said:
            process = subprocess.Popen(job.command, stdout=said, stderr=said, env=dict(self.environment))
            self._running[job.name] = process
            code = process.wait()
            del self._running[job.name]
        if code:
            raise RuntimeError(f"exit code {code}: {_last_lines(log)}")

    def _interrupt(self, running: Mapping[Future[float], Job]) -> None:
        """Interrupt commands as Ctrl-C does, so that they save and stop."""
        for process in list(self._running.values()):
            process.send_signal(signal.SIGINT)
        self.on_stop()
        wait(running)


def urgencies(jobs: Sequence[Job]) -> dict[str, float]:
    """Return for each job the cost of the longest path from it to the end.

    >>> some = Path("x")
    >>> urgencies([Job("a", "data", some, (), cost=1), Job("b", "train", some, (), ("a",), cost=5)])
    {'b': 5, 'a': 6}
    """
    behind: dict[str, list[Job]] = {}
    for job in jobs:
        for need in job.needs:
            behind.setdefault(need, []).append(job)
    found: dict[str, float] = {}

    def urgency(job: Job) -> float:
        if job.name not in found:
            found[job.name] = job.cost + max((urgency(other) for other in behind.get(job.name, ())), default=0)
        return found[job.name]

    for job in jobs:
        urgency(job)
    return found


def with_needs(chosen: Sequence[Job], jobs: Sequence[Job]) -> list[Job]:
    """Return the chosen jobs with all their dependencies, in the order of `jobs`."""
    by_name = {job.name: job for job in jobs}
    wanted: set[str] = set()
    stack = [job.name for job in chosen]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += by_name[name].needs
    return [job for job in jobs if job.name in wanted]


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-LAST_LINES:])


def _read(file: Path) -> Mapping[str, Any] | None:
    if not file.is_file():
        return None
    record: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record
