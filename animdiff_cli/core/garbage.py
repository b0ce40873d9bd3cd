"""Garbage collection around imports, which make hundreds of thousands of objects and no garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Collect no garbage inside this context.

    Each collection looks at all objects that imports have made so far: a fifth of the time of importing diffusers.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def freeze_objects() -> None:
    """Let collections leave out the objects that exist now. For a program of its own: libraries must not call it.

    The last collection of Python, at exit, would look at everything that was imported: 1.3 s after a render.
    """
    gc.freeze()
