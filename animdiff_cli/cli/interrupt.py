"""Ctrl-C that cannot get lost."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from animdiff_cli.core.events import Emit, Event


@contextmanager
def keeping_interrupts(emit: Emit) -> Iterator[Emit]:
    """Yield a watcher that raises `KeyboardInterrupt` at the next event where an earlier one was swallowed.

    Python drops what is raised inside a destructor, and loading a tokenizer compiles regular expressions, whose nodes
    all have one: for a quarter of a second Ctrl-C would print a traceback and do nothing.
    """
    lost = False
    before = sys.unraisablehook

    def keep(unraisable: "sys.UnraisableHookArgs") -> None:
        nonlocal lost
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            lost = True
        else:
            before(unraisable)

    def watch(event: Event) -> None:
        if lost:
            raise KeyboardInterrupt
        emit(event)

    sys.unraisablehook = keep
    try:
        yield watch
    finally:
        sys.unraisablehook = before
