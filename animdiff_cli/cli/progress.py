"""Progress on stderr: live bars on a terminal, otherwise one line per tenth of the steps."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from animdiff_cli.cli.interrupts import was_interrupted
from animdiff_cli.cli.out import print_err
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
    ignore,
)
from animdiff_cli.core.text import counted, format_duration

#: time to decode a clip in denoising steps; with the pocket model on a CPU, 1.4 with guidance and 1.9 without it
DECODING_STEPS = 1.5

SECONDS_PER_LINE = 60  # of a step in windows


@contextmanager
def show_progress(*, quiet: bool, as_json: bool = False) -> Iterator[Emit]:
    """Yield an event handler that prints progress to stderr. It raises `KeyboardInterrupt` if a library has lost it.

    With `as_json`, events are printed on stdout too: a terminal that shows them needs no progress.
    """
    with _display(quiet or (as_json and sys.stdout.isatty())) as display:

        def emit(event: Event) -> None:
            if was_interrupted():
                raise KeyboardInterrupt
            display(event)

        yield emit


@contextmanager
def _display(quiet: bool) -> Iterator[Emit]:
    if quiet:
        yield ignore
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from animdiff_cli.cli.bars import live_bars  # rich.progress is slow to import

        with live_bars() as emit:
            yield emit
    else:
        yield PlainLines()


class PlainLines:
    """Print one line when a stage begins and one per tenth of its steps; in a long step, one per minute."""

    def __init__(self) -> None:
        self._tenth = 0
        self._start_time = 0.0
        self._line_time = time.monotonic()
        self._first_train_step = 0
        self._clips = ClipTimes()

    def __call__(self, event: Event) -> None:
        match event:
            case Loading(what):
                print_err(f"loading {what}")
            case StepDone():
                self._denoising_step(event)
            case WindowDone():
                self._denoising_window(event)
            case Trained():
                self._training_step(event)
            case Prepared(what, done, total) if done == total:
                print_err(f"prepared {total} {what}")
            case FramesDecoded(done, total) if done == total:
                print_err(f"decoded {counted(total, 'frame')}")
            case Measuring(name, job, jobs):
                print_err(f"measuring {name} ({job}/{jobs})" if jobs > 1 else f"measuring {name}")
            case Writing(path):
                print_err(f"writing {path}")
            case Note(message):
                print_err(f"note: {message}")

    def _denoising_step(self, event: StepDone) -> None:
        speed = self._clips.speed(event, time.monotonic())
        tenth = 10 * event.step // event.total
        if tenth == self._tenth and event.step > 1:
            return
        self._tenth = tenth
        self._line_time = time.monotonic()
        clip = f"clip {event.job}/{event.jobs}, " if event.jobs > 1 else ""
        print_err(f"{clip}step {event.step}/{event.total}{', ' if speed else ''}{speed}")

    def _denoising_window(self, event: WindowDone) -> None:
        if event.done < event.windows and time.monotonic() - self._line_time > SECONDS_PER_LINE:
            self._line_time = time.monotonic()
            clip = f"clip {event.job}/{event.jobs}, " if event.jobs > 1 else ""
            print_err(f"{clip}step {event.step}/{event.total}, window {event.done}/{event.windows}")

    def _training_step(self, event: Trained) -> None:
        tenth = 10 * event.step // event.total
        if not self._first_train_step:
            self._first_train_step, self._start_time = event.step, time.monotonic()
        elif tenth == self._tenth:
            return
        self._tenth = tenth
        status = format_training_step(event, self._first_train_step, self._start_time)
        print_err(f"step {event.step}/{event.total}, {status}")


class ClipTimes:
    """Estimates the time left of a render: its steps, and decoding and writing of each clip."""

    def __init__(self) -> None:
        self._start = 0.0  # of the clip's first step
        self._last = 0.0  # when the last step of a clip was done
        self._between: float | None = None  # seconds from there to the first step of the next clip

    def speed(self, event: StepDone, now: float) -> str:
        """Format steps per second and time left at `now`, in seconds of a monotonic clock; empty at the first step.

        Until a clip is finished, decoding is counted as `DECODING_STEPS` steps.
        """
        if event.step == 1:
            self._between = now - self._last if event.job > 1 and self._last else self._between
            self._start = now
        self._last = now
        per_step = (now - self._start) / max(event.step - 1, 1)
        between = DECODING_STEPS * per_step if self._between is None else max(self._between - per_step, 0.0)
        return format_speed(event, now - self._start, after_clip=between)


def format_training_step(event: Trained, first_step: int, start_time: float) -> str:
    """Format loss, learning rate, memory and speed. `start_time` (monotonic): when `first_step` was done."""
    this_session = StepDone(event.step - first_step + 1, event.total - first_step + 1)
    speed = format_speed(this_session, time.monotonic() - start_time)
    memory = f"{event.memory / 1e9:.1f} GB" if event.memory else ""
    return ", ".join(filter(None, (f"loss {event.loss:.4f}", f"lr {event.lr:.2g}", memory, speed)))


def format_speed(event: StepDone, seconds: float, *, after_clip: float = 0.0) -> str:
    """Format steps per second and time left, `seconds` after the first step; empty before the second step.

    The time left counts the clips to come, and `after_clip` seconds for what follows the steps of each.
    """
    if event.step < 2 or seconds <= 0:
        return ""
    per_second = (event.step - 1) / seconds
    steps_left = event.total - event.step + event.total * (event.jobs - event.job)
    speed = f"{per_second:.1f} it/s" if per_second >= 1 else f"{1 / per_second:.1f} s/it"
    left = steps_left / per_second + after_clip * (event.jobs - event.job + 1)
    return f"{speed}, {format_duration(left)} left" if left else speed
