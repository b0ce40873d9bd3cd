"""Ctrl-C and SIGTERM during a batch: the first finishes the clip, the second stops now."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Stop:
    """Whether the user has asked to stop. `on_first` is called by the signal handler."""

    is_asked: bool = False
    is_now: bool = False
    on_first: Callable[[], None] | None = None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Handle SIGINT, SIGTERM and SIGHUP: the first is noted, the next one raises `KeyboardInterrupt`.

    In another thread than the main one, which gets no signals, nothing changes. Ignored signals stay ignored.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_asked:
            stop.is_now = True
            raise KeyboardInterrupt
        stop.is_asked = True
        if stop.on_first:
            stop.on_first()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
