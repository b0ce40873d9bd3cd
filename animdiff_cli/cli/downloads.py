"""Download progress on stderr: bars on a terminal, lines elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from animdiff_cli.cli.out import print_above, print_err
from animdiff_cli.core.events import BytesReceived, Downloaded, Downloading, Emit, Event, Note, ignore
from animdiff_cli.core.text import counted, format_duration, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MAX_BARS = 8


@contextmanager
def download_progress(*, quiet: bool) -> Iterator[Emit]:
    """Yield an event handler that shows download progress: bars on a terminal, lines elsewhere, nothing if `quiet`."""
    if quiet:
        yield ignore
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bars() as emit:
            yield emit
    else:
        yield DownloadLines()


class DownloadLines:
    """Print a line for every 10 % of a file."""

    def __init__(self) -> None:
        self._name, self._tenth, self._start_s, self._resumed_at = "", 0, 0.0, 0

    def __call__(self, event: Event) -> None:
        from animdiff_cli.fetch.disk import format_bytes

        match event:
            case Downloading(files, total):
                print_err(f"fetching {counted(files, 'file')}" + (f", {format_bytes(total)}" if total else ""))
            case BytesReceived():
                self._received(event)
            case Downloaded(name, total):
                print_err(f"{name}: downloaded and verified, {format_bytes(total)}")
            case Note(message):
                print_err(f"note: {message}")

    def _received(self, event: BytesReceived) -> None:
        from animdiff_cli.fetch.disk import format_bytes

        if event.name != self._name:
            self._name, self._tenth, self._start_s, self._resumed_at = event.name, 0, time.monotonic(), event.done
        tenth = 10 * event.done // event.total if event.total else 0
        if tenth <= self._tenth or tenth == 10:
            return
        self._tenth = tenth
        share = f"{10 * tenth} % of {format_bytes(event.total or 0)}"
        if event.done == self._resumed_at:
            print_err(f"{event.name}: resuming at {share}")
            return
        rate = (event.done - self._resumed_at) / max(time.monotonic() - self._start_s, 1e-3)
        left_s = ((event.total or 0) - event.done) / rate
        print_err(f"{event.name}: {share}, {format_bytes(rate)}/s, {format_duration(left_s)} left")


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
    """Show a bar per file that has started, and one for all files if there are several."""

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
                self._update(name, done, total)
            case Note(message):
                print_above(self._progress.console, f"note: {message}")

    def _update(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            # start at the resumed bytes: they must not count towards the speed of this run
            self._tasks[name] = self._progress.add_task(_shorten(name), total=total, completed=done)
            self._hide_oldest()
        self._progress.update(self._tasks[name], completed=done, total=total)
        self._done[name] = done
        if self._all is not None:
            self._progress.update(self._all, completed=sum(self._done.values()))

    def _hide_oldest(self) -> None:
        """Hide the oldest bars: a terminal cuts off the end of a long list, where the newest are."""
        for task in list(self._tasks.values())[:-MAX_BARS]:
            self._progress.update(task, visible=False)


def _shorten(name: str) -> str:
    name = printable(name)
    return name if len(name) <= 40 else f"…{name[-39:]}"
