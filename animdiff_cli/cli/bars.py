"""Live progress on a terminal: one line that says what is being done, gone when it is done."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from animdiff_cli.cli.progress import rate, trained_words
from animdiff_cli.core.events import (
    Emit,
    Event,
    FramesDecoded,
    Loading,
    Measuring,
    Note,
    Prepared,
    StepDone,
    Trained,
    Writing,
    Written,
)


@contextmanager
def live_bars() -> Iterator[Emit]:
    """Yield a watcher that draws on stderr. stdout is left alone: a path must reach the pipe it was meant for."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        _BarOfKnownLength(bar_width=30),
        TextColumn("{task.fields[tail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        yield _Bars(progress)


class _BarOfKnownLength(BarColumn):
    """No bar while nobody knows how long it takes."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text()  # type: ignore[return-value]


class _Bars:
    """Show one line at a time: what is being loaded, denoised, decoded or written."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._what = ""
        self._began = 0.0
        self._first_trained: tuple[int, float] | None = None  # step and moment

    def __call__(self, event: Event) -> None:
        match event:
            case Loading(what):
                self._show(f"loading {what}")
            case StepDone(step, total, job, jobs):
                self._show(f"denoising clip {job}/{jobs}" if jobs > 1 else "denoising", step, total)
                self._tail(f"{step}/{total} {rate(event, time.monotonic() - self._began)}")
            case Trained(step, total):
                self._first_trained = self._first_trained or (step, time.monotonic())
                self._show("training", step, total)
                self._tail(f"{step}/{total} {trained_words(event, *self._first_trained)}")
            case Prepared(what, done, total):
                self._show(f"preparing {what}", done, total)
                self._tail(f"{done}/{total}")
            case FramesDecoded(done, total):
                self._show("decoding", done, total)
                self._tail(f"{done}/{total} frames")
            case Measuring(name, job, jobs):
                self._show("measuring", job - 1, jobs)
                self._tail(f"{job}/{jobs} {name}")
            case Writing(path):
                self._show(f"writing {path.name}")
            case Written():  # its path is printed next, and starts a line of its own
                self._clear()
                self._progress.stop()
            case Note(message):
                self._progress.console.print(f"note: {message}", markup=False, highlight=False, soft_wrap=True)

    def _show(self, what: str, done: int = 0, total: int | None = None) -> None:
        if self._task is None or what != self._what:
            self._clear()
            self._progress.start()
            self._task, self._what = self._progress.add_task(what, total=total, tail=""), what
            self._began = time.monotonic()
        self._progress.update(self._task, completed=done)

    def _tail(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, tail=text)

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
