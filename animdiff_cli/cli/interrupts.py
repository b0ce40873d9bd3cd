"""Ctrl-C and SIGTERM that are not lost."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS_TO_DESTRUCTOR_END = 0.01


class InterruptHandler:
    """Raises `KeyboardInterrupt`, and remembers it: a library whose import is interrupted may raise something else."""

    def __init__(self) -> None:
        self.was_called = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.was_called = True
        raise KeyboardInterrupt


def handle_signals() -> None:
    """Let SIGTERM and SIGHUP end the program like Ctrl-C. Signals that are ignored stay so, as with `nohup`."""
    handler = InterruptHandler()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, handler)


def release_signals() -> None:
    """Let the system end the program at the next Ctrl-C: what runs at its exit would print a traceback."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and isinstance(signal.getsignal(number), InterruptHandler):
            signal.signal(number, signal.SIG_DFL)


def was_interrupted() -> bool:
    """Return whether `KeyboardInterrupt` was raised since the program started."""
    handlers = (signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))
    return any(handler.was_called for handler in handlers if isinstance(handler, InterruptHandler))


@contextmanager
def lost_interrupts_raised_again() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the main thread again if Python has discarded it.

    Python discards exceptions raised inside a destructor. Importing torch and loading a tokenizer compile regular
    expressions, whose nodes have destructors, so for moments Ctrl-C would print a traceback and do nothing.
    """
    previous_hook = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # not here: an exception in this function would be discarded too
            threading.Thread(target=_interrupt_soon, daemon=True).start()
        else:
            previous_hook(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook


def _interrupt_soon() -> None:
    """Send SIGTERM to the main thread, or SIGINT if that is not handled. Processes in the background ignore SIGINT."""
    time.sleep(SECONDS_TO_DESTRUCTOR_END)
    number = signal.SIGTERM if callable(signal.getsignal(signal.SIGTERM)) else signal.SIGINT
    if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident):
        signal.pthread_kill(main, number)  # also ends a wait for a file or a process
    else:  # Windows
        _thread.interrupt_main(number)
