"""The live table of a running batch on a terminal: counts, a bar, and one line per worker."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from animdiff_cli.cli.batch_progress import failure_lines, worker_label
from animdiff_cli.cli.out import print_above
from animdiff_cli.core.batch_progress import BatchProgress
from animdiff_cli.core.event_records import RESULTS, EmitRecord, Record
from animdiff_cli.core.naming import natural_key
from animdiff_cli.core.text import format_duration, printable

OTHER_LINES = 5  # counts, which may take two, bar, the line on other workers, and one for the cursor


@contextmanager
def live_table(print_result: EmitRecord) -> Iterator[EmitRecord]:
    """Yield a handler of event records that draws the table on stderr, and passes each record to `print_result`.

    The table is removed at the end. Notes, failures and the final counts remain.
    """
    table = BatchTable(print_result)
    try:
        yield table
    finally:
        table.end()


class BatchTable:
    """Show what a batch does, from the first clip on that is queued."""

    def __init__(self, print_result: EmitRecord) -> None:
        self._console = Console(stderr=True)
        self._print_result = print_result
        self._progress = BatchProgress()
        self._lock = threading.RLock()  # of the progress: a thread of rich draws it
        self._began = time.monotonic()
        self._live: Live | None = None

    def __call__(self, record: Record) -> None:
        """Show a record."""
        with self._lock:
            self._progress.update(record, time.monotonic())
        match record["event"]:
            case "note" if self._progress.is_new(record["message"]):
                print_above(self._console, f"note: {record['message']}")
            case "failed":
                for line in failure_lines(self._progress, record):
                    print_above(self._console, line)
        if record["event"] in RESULTS and sys.stdout.isatty():  # the same terminal
            self._stop()
        self._print_result(record)
        if self._progress.num_ended < len(self._progress.states) and self._live is None:
            # a new one: an old one would go back over the lines printed since it was stopped
            self._live = Live(get_renderable=self.render, console=self._console, transient=True, redirect_stdout=False)
            self._live.start()

    def render(self) -> RenderableType:
        """Return the table as it is now."""
        now = time.monotonic()
        # narrower than the terminal: it prints `^C` behind the last line, and must not begin another one
        whole = Table.grid(expand=True)
        whole.width = self._console.width - len("^C") - 1
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        with self._lock:
            done = ProgressBar(total=max(len(self._progress.states), 1), completed=self._progress.num_ended)
            bar.add_row(done, self._progress.speed(now))
            for part in (self._progress.summary(), bar, self._workers(now)):
                whole.add_row(part)
        return whole

    def _workers(self, now: float) -> RenderableType:
        clips = sorted(self._progress.running.items(), key=lambda item: natural_key(item[1].worker))
        shown = clips[: max(self._console.height - OTHER_LINES, 1)]
        workers = Table.grid(padding=(0, 2), expand=True)
        is_named = any(clip.worker for _, clip in shown)
        if is_named:
            workers.add_column(no_wrap=True)
        workers.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        workers.add_column(no_wrap=True)
        workers.add_column(no_wrap=True, justify="right")
        for job, clip in shown:
            name, age = self._progress.names.get(job, job), format_duration(now - clip.since)
            cells = [worker_label(clip.worker)] * is_named + [name, clip.stage, age]
            workers.add_row(*(Text(printable(cell)) for cell in cells))
        hidden = len(clips) - len(shown)
        return Group(workers, Text(f"and {hidden} more")) if hidden else workers

    def end(self) -> None:
        """Remove the table, and print the counts and the duration."""
        self._stop()
        if self._progress.states:
            seconds = format_duration(time.monotonic() - self._began)
            print_above(self._console, f"{self._progress.summary()}, in {seconds}")

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
