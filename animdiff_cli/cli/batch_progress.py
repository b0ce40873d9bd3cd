"""What `animdiff batch` prints while it renders: paths or events on stdout, a live table or plain lines on stderr."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from animdiff_cli.cli.out import print_err, print_paths, print_record
from animdiff_cli.core.batch_progress import BatchProgress
from animdiff_cli.core.event_records import EmitRecord, Record
from animdiff_cli.core.text import counted, format_duration
from animdiff_cli.errors import ClipsFailed

if TYPE_CHECKING:
    from animdiff_cli.jobs.batch.run import BatchResult

SECONDS_PER_LINE = 60  # between lines about the steps of a clip, where there is no terminal


@contextmanager
def show_batch(*, quiet: bool, as_json: bool) -> Iterator[EmitRecord]:
    """Yield a handler that prints event records, one at a time.

    stdout gets the paths of finished clips, also of those that an earlier run has rendered, or all records as JSON.
    """
    print_result = print_record(quiet=quiet) if as_json else _print_paths
    is_silent = quiet or (as_json and sys.stdout.isatty())  # a terminal that shows the records needs no table
    with _display(print_result, is_silent=is_silent) as display:
        yield display


@contextmanager
def _display(print_result: EmitRecord, *, is_silent: bool) -> Iterator[EmitRecord]:
    """Yield a handler that shows a record on stderr and passes it to `print_result`."""
    if is_silent:
        yield print_result
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from animdiff_cli.cli.batch_table import live_table  # rich is slow to import

        with live_table(print_result) as display:
            yield display
    else:
        lines = BatchLines(print_result)
        try:
            yield lines
        finally:
            lines.end()


def report_end(result: "BatchResult", folder: str, *, quiet: bool) -> None:
    """Exit with 130 if a batch was interrupted, and say what is kept. Raises `ClipsFailed` if clips failed."""
    kept = result.done + result.skipped
    total = kept + result.failed + result.locked + result.left
    if result.is_interrupted:
        if not quiet:
            print_err(f"interrupted: {kept} of {counted(total, 'clip')} finished and kept")
            print_err("hint: to render the rest, run the same command again")
        raise typer.Exit(result.exit_code)
    if result.failed:
        listed = f"`animdiff batch status {shlex.quote(folder)}` lists them"
        raise ClipsFailed(
            f"{result.failed} of {counted(total, 'clip')} failed",
            hint=f"{listed}; run the same command again to retry them",
        )


def _print_paths(record: Record) -> None:
    if record["event"] in ("done", "skipped"):
        print_paths(*record["outputs"].values())


class BatchLines:
    """Print one line on stderr when a clip starts or ends, and one a minute while it is rendered."""

    def __init__(self, print_result: EmitRecord, clock: Callable[[], float] = time.monotonic) -> None:
        self._print_result = print_result
        self._clock = clock
        self._began = clock()
        self._progress = BatchProgress()
        self._last_line: dict[str, float] = {}  # by job

    def __call__(self, record: Record) -> None:
        """Print a line about a record, if it is worth one."""
        now, job = self._clock(), record["job"]
        is_first = self._progress.began is None and record["event"] == "started"
        clip = self._progress.running.get(job)
        self._progress.update(record, now)
        if is_first:
            print_err(self._progress.summary())
        if lines := self._lines(record, now, clip.since if clip else now):
            self._last_line[job] = now
            print_err(*lines)
        self._print_result(record)

    def end(self) -> None:
        """Print the counts and the duration."""
        if self._progress.states:
            print_err(f"{self._progress.summary()}, in {format_duration(self._clock() - self._began)}")

    def _lines(self, record: Record, now: float, since: float) -> list[str]:
        job = record["job"]
        name = self._progress.names.get(job, "")
        match record["event"]:
            case "started":
                again = f", attempt {record['attempt']}" if record["attempt"] > 1 else ""
                return [f"{_by(record.get('worker', ''))}{name}{again}"]
            case "done":
                speed = self._progress.speed(now)
                return [f"done in {format_duration(now - since)}: {name}{', ' if speed else ''}{speed}"]
            case "failed":
                return failure_lines(self._progress, record)
            case "interrupted":
                return [f"interrupted: {name}"]
            case "note" if self._progress.is_new(record["message"]):
                return [f"note: {record['message']}"]
            case _ if job in self._progress.running and now - self._last_line.get(job, now) >= SECONDS_PER_LINE:
                running = self._progress.running[job]
                return [f"{_by(running.worker)}{name}: {running.stage}"]
        return []


def failure_lines(progress: BatchProgress, record: Record) -> list[str]:
    """Return what failed and why, and the hint if the clip is not tried again."""
    again = ", is tried again" if record["retry"] else ""
    failure = f"failed: {progress.names.get(record['job'], record['job'])}: {record['error']}{again}"
    return [failure, f"hint: {record['hint']}"] if record.get("hint") and not again else [failure]


def worker_label(worker: str) -> str:
    """Return the name of a worker for people; empty where there is one."""
    return f"worker {worker}" if worker else ""


def _by(worker: str) -> str:
    return f"{worker_label(worker)}: " if worker else ""
