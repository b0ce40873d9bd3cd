"""Load the next item in a thread while the current one is used."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


def prefetch(load: Callable[[Input], Output], inputs: Iterable[Input]) -> Generator[Output, None, None]:
    """Yield `load(value)` of each input in order, loading one ahead. Raises an exception at the item that caused it.

    >>> list(prefetch(abs, [-1, -2]))
    [1, 2]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        pending: Future[Output] | None = None
        for value in inputs:
            following = thread.submit(load, value)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
