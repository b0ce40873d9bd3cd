"""Ctrl-C that waits for the step to end, so that what is saved is a state the run really had."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: SIGTERM is how clusters ask a job to make room
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether somebody asked to stop. The second time stops at once, with nothing saved."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()  # and nothing else: whatever was printing may be half done

    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield asked.is_set
        return
    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
