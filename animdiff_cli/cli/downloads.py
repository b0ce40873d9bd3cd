"""Progress of downloads on stderr: a bar per file and one for all on a terminal, a line per tenth elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from animdiff_cli.core.events import BytesReceived, Downloaded, Downloading, Emit, Event, Note, ignore

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MOST_BARS = 8


@contextmanager
def watching_downloads(*, quiet: bool) -> Iterator[Emit]:
    """Yield a watcher of downloads that fits where stderr goes."""
    if quiet:
        yield ignore
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bars() as emit:
            yield emit
    else:
        yield DownloadLines()


def report(line: str) -> None:
    """Print a line of talk."""
    print(line, file=sys.stderr, flush=True)


class DownloadLines:
    """One line per file and tenth of it."""

    def __init__(self) -> None:
        self._name, self._tenth, self._began, self._had = "", 0, 0.0, 0

    def __call__(self, event: Event) -> None:
        from animdiff_cli.fetch.disk import in_words

        match event:
            case Downloading(files, total):
                report(f"fetching {files} file{'s' * (files > 1)}" + (f", {in_words(total)}" if total else ""))
            case BytesReceived():
                self._received(event)
            case Downloaded(name, total):
                report(f"{name}: whole and verified, {in_words(total)}")
            case Note(message):
                report(f"note: {message}")

    def _received(self, event: BytesReceived) -> None:
        from animdiff_cli.fetch.disk import in_words

        if event.name != self._name:
            self._name, self._tenth, self._began, self._had = event.name, 0, time.monotonic(), event.done
        tenth = 10 * event.done // event.total if event.total else 0
        if tenth <= self._tenth or tenth == 10:
            return
        self._tenth = tenth
        share = f"{event.name}: {10 * tenth} % of {in_words(event.total or 0)}"
        if event.done == self._had:  # of an earlier run
            report(f"{share} is here already")
            return
        rate = (event.done - self._had) / max(time.monotonic() - self._began, 1e-3)
        left = ((event.total or 0) - event.done) / rate
        report(f"{share}, {in_words(rate)}/s, {left:.0f} s left")


@contextmanager
def _bars() -> Iterator[Emit]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, speed_estimate_period=10) as progress:
        yield DownloadBars(progress)


class DownloadBars:
    """A bar for all files where there are several, and one for each that has begun."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._all: TaskID | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case Downloading(files, total) if files > 1:
                self._all = self._progress.add_task(f"all {files} files", total=total)
            case BytesReceived(name, done, total):
                self._show(name, done, total)
            case Note(message):
                self._progress.console.print(f"note: {message}", markup=False, highlight=False, soft_wrap=True)

    def _show(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            # bytes of an earlier run are not this run's speed: the bar begins where that one stopped
            self._tasks[name] = self._progress.add_task(_short(name), total=total, completed=done)
            self._make_room()
        self._progress.update(self._tasks[name], completed=done, total=total)
        self._done[name] = done
        if self._all is not None:
            self._progress.update(self._all, completed=sum(self._done.values()))

    def _make_room(self) -> None:
        """Hide the oldest bars: a terminal shows the top of a long list, and the newest is at its end."""
        for task in list(self._tasks.values())[:-MOST_BARS]:
            self._progress.update(task, visible=False)


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"…{name[-39:]}"
