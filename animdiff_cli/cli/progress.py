"""Progress on stderr: live bars on a terminal, a plain line per tenth elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from animdiff_cli.cli.interrupt import keeping_interrupts
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
    ignore,
)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Emit]:
    """Yield a watcher of events that fits where stderr goes. Ctrl-C ends the work at the next event at the latest."""
    with _display(quiet) as display, keeping_interrupts(display) as emit:
        yield emit


@contextmanager
def _display(quiet: bool) -> Iterator[Emit]:
    if quiet:
        yield ignore
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from animdiff_cli.cli.bars import live_bars  # rich.progress takes a while to import

        with live_bars() as emit:
            yield emit
    else:
        yield Lines()


class Lines:
    """One line when something begins, and one per tenth of the steps."""

    def __init__(self) -> None:
        self._tenth = 0
        self._began = 0.0
        self._first_trained = 0

    def __call__(self, event: Event) -> None:
        match event:
            case Loading(what):
                _say(f"loading {what}")
            case StepDone():
                self._step(event)
            case Trained():
                self._trained(event)
            case Prepared(what, done, total) if done == total:
                _say(f"prepared {total} {what}")
            case FramesDecoded(done, total) if done == total:
                _say(f"decoded {total} frames")
            case Measuring(name, job, jobs):
                _say(f"measuring {name} ({job}/{jobs})" if jobs > 1 else f"measuring {name}")
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
        pace = rate(event, time.monotonic() - self._began)
        _say(f"{clip}step {event.step}/{event.total}{', ' if pace else ''}{pace}")

    def _trained(self, event: Trained) -> None:
        if not self._first_trained:
            self._first_trained, self._began = event.step, time.monotonic()
            self._tenth = 10 * event.step // event.total
        elif (tenth := 10 * event.step // event.total) == self._tenth:
            return
        else:
            self._tenth = tenth
        _say(f"step {event.step}/{event.total}, {trained_words(event, self._first_trained, self._began)}")


def trained_words(event: Trained, first: int, began: float) -> str:
    """Word loss, learning rate, memory, and pace since step `first` was done at `began`, on the monotonic clock."""
    sitting = StepDone(event.step - first + 1, event.total - first + 1)
    pace = rate(sitting, time.monotonic() - began)
    memory = f"{event.memory / 1e9:.1f} GB" if event.memory else ""
    return ", ".join(filter(None, (f"loss {event.loss:.4f}", f"lr {event.lr:.2g}", memory, pace)))


def rate(event: StepDone, seconds: float) -> str:
    """Word steps per second and time left, `seconds` after the first step; empty until there is a second one."""
    if event.step < 2 or seconds <= 0:
        return ""
    per_second = (event.step - 1) / seconds
    left = (event.total - event.step) / per_second
    speed = f"{per_second:.1f} it/s" if per_second >= 1 else f"{1 / per_second:.1f} s/it"
    return f"{speed}, {left:.0f} s left" if event.step < event.total else speed


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
