"""Live progress on a terminal: one line for the current stage, removed at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from animdiff_cli.cli.out import print_above
from animdiff_cli.cli.progress import ClipTimes, format_training_step
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
    WindowDone,
    Writing,
    Written,
)
from animdiff_cli.core.text import printable


@contextmanager
def live_bars() -> Iterator[Emit]:
    """Yield an event handler that draws bars on stderr. stdout is not redirected: paths are piped from it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        _BarWithTotal(width=30),
        TextColumn("{task.fields[tail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        yield _Bars(progress)


class _BarWithTotal(ProgressColumn):
    """A progress bar that is hidden while the total is unknown."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=width)

    def render(self, task: Task) -> RenderableType:
        return self._bar.render(task) if task.total is not None else Text()


class _Bars:
    """Show the current stage in one line: loading, denoising, decoding or writing."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._stage = ""
        self._clips = ClipTimes()
        self._first_train_step: tuple[int, float] | None = None  # step, time

    def __call__(self, event: Event) -> None:
        match event:
            case Loading(what):
                self._show(f"loading {what}")
            case StepDone(step, total, job, jobs):
                self._show(f"denoising clip {job}/{jobs}" if jobs > 1 else "denoising", step, total)
                self._tail(f"{step}/{total} {self._clips.speed(event, time.monotonic())}")
            case WindowDone(done, windows, step, total, job, jobs):
                stage = f"denoising clip {job}/{jobs}" if jobs > 1 else "denoising"
                self._show(stage, step - 1 + done / windows, total)
                self._tail(f"{step}/{total}, window {done}/{windows}")
            case Trained(step, total):
                self._first_train_step = self._first_train_step or (step, time.monotonic())
                self._show("training", step, total)
                self._tail(f"{step}/{total} {format_training_step(event, *self._first_train_step)}")
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
            case Written():  # the path is printed next, on its own line
                self._clear()
                self._progress.stop()
            case Note(message):
                print_above(self._progress.console, f"note: {message}")

    def _show(self, stage: str, done: float = 0, total: int | None = None) -> None:
        if self._task is None or stage != self._stage:
            self._clear()
            self._progress.start()
            self._task, self._stage = self._progress.add_task(printable(stage), total=total, tail=""), stage
        self._progress.update(self._task, completed=done)

    def _tail(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, tail=printable(text))

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
