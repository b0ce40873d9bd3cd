"""The next batches are read while the device computes with the last ones."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Asked, Made = TypeVar("Asked"), TypeVar("Made")


def prefetch(make: Callable[[Asked], Made], asked: Iterable[Asked]) -> Generator[Made, None, None]:
    """Yield `make` of each in order, one of them ahead in a thread. What it raises is raised where it is due.

    >>> list(prefetch(abs, [-1, -2]))
    [1, 2]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        waiting = None
        for one in asked:
            following = thread.submit(make, one)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
