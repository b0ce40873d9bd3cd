"""Progress on stderr: live bars on a terminal, a plain line per tenth elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from animdiff_cli.core.events import Emit, Event, FramesDecoded, Loading, Note, StepDone, Writing, ignore


@contextmanager
def watching(*, quiet: bool) -> Iterator[Emit]:
    """Yield a watcher of events that fits where stderr goes."""
    if quiet:
        yield ignore
    elif sys.stderr.isatty():
        with _bars() as emit:
            yield emit
    else:
        yield _Lines()


class _Lines:
    """One line when something begins, and one per tenth of the steps."""

    def __init__(self) -> None:
        self._tenth = 0
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case Loading(what):
                _say(f"loading {what}")
            case StepDone():
                self._step(event)
            case FramesDecoded(done, total) if done == total:
                _say(f"decoded {total} frames")
            case Writing(path):
                _say(f"writing {path}")
            case Note(message):
                _say(f"note: {message}")

    def _step(self, event: StepDone) -> None:
        if event.step == 1:
            self._tenth, self._began = 0, time.monotonic()
        tenth = 10 * event.step // event.total
        if tenth == self._tenth and event.step > 1:
            return
        self._tenth = tenth
        clip = f"clip {event.job}/{event.jobs}, " if event.jobs > 1 else ""
        _say(f"{clip}step {event.step}/{event.total}{_rate(event, time.monotonic() - self._began)}")


@contextmanager
def _bars() -> Iterator[Emit]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", style="progress.data.speed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _on_bars(progress.add_task, progress.update, progress.remove_task, progress.console.print)


def _on_bars(
    add: Callable[..., int], update: Callable[..., None], remove: Callable[[int], None], write: Callable[..., None]
) -> Emit:
    """Show one bar at a time: what is being loaded, denoised, decoded or written."""
    current: tuple[str, int] | None = None
    began = time.monotonic()

    def show(what: str, done: int | None, total: int | None, rate: str = "") -> None:
        nonlocal current, began
        if current is None or current[0] != what:
            if current is not None:
                remove(current[1])
            current, began = (what, add(what, total=total, rate="")), time.monotonic()
        update(current[1], completed=done or 0, total=total, rate=rate)

    def emit(event: Event) -> None:
        match event:
            case Loading(what):
                show(f"loading {what}", None, None)
            case StepDone(step, total, job, jobs):
                clip = f" clip {job}/{jobs}" if jobs > 1 else ""
                show(f"denoising{clip}", step, total, _rate(event, time.monotonic() - began).strip(" ,"))
            case FramesDecoded(done, total):
                show("decoding", done, total)
            case Writing(path):
                show(f"writing {path.name}", None, None)
            case Note(message):
                write(f"note: {message}", highlight=False)

    return emit


def _rate(event: StepDone, seconds: float) -> str:
    """Steps per second and time left, from the second step on: the first one warms up."""
    if event.step < 2 or seconds <= 0:
        return ""
    per_second = (event.step - 1) / seconds
    left = (event.total - event.step) / per_second
    speed = f"{per_second:.1f} it/s" if per_second >= 1 else f"{1 / per_second:.1f} s/it"
    return f", {speed}, {left:.0f} s left"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
