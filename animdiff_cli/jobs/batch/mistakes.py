"""Collect the mistakes of a batch, so that all of them are reported at once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from animdiff_cli.core.naming import natural_key
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError, UsageError

MAX_SHOWN = 20  # mistakes
MAX_LINES = 5  # of one mistake, beside the first
_LINE = re.compile(r"(?::|, line )(\d+)")


class Mistakes:
    """The mistakes that were found so far. The same mistake in several places is listed once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[AnimdiffError, list[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, error: AnimdiffError, where: str = "") -> None:
        """Add an error. `where` is put before its message."""
        _, places = self._found.setdefault(str(error), (error, []))
        if where:
            places.append(where)

    @contextmanager
    def collected(self, where: str = "") -> Iterator[None]:
        """Add the `AnimdiffError` that ends the context, if any."""
        try:
            yield
        except AnimdiffError as error:
            self.add(error, where)

    def raise_found(self, source: str) -> None:
        """Raise one error that lists all mistakes, or the only one. Returns if there are none.

        Its class, and so the exit code, is that of the mistakes; `UsageError` if they differ.
        """
        located = (_located(error, places) for error, places in self._found.values())
        found = sorted(located, key=lambda error: natural_key(str(error)))  # in the order of lines
        if not found:
            return
        if len(found) == 1:
            raise found[0]
        kinds = {type(error) for error in found}
        kind = kinds.pop() if len(kinds) == 1 else UsageError
        hidden = len(found) - MAX_SHOWN
        hint = f"correct these first: there are {hidden} more" if hidden > 0 else None
        raise kind(f"{source} has {counted(len(found), 'mistake')}", hint=hint, mistakes=found[:MAX_SHOWN])


def _located(error: AnimdiffError, places: list[str]) -> AnimdiffError:
    if not places:
        return error
    first, *others = dict.fromkeys(places)
    lines = list(dict.fromkeys(match[1] for place in others if (match := _LINE.search(place))))
    if not others:
        also = ""
    elif len(lines) <= 1:
        also = f" (so in {counted(len(others), 'other job')})"
    else:
        also = f" (so on lines {', '.join(lines[:MAX_LINES])}{' …' if len(lines) > MAX_LINES else ''})"
    return type(error)(f"{first}: {error}{also}", hint=error.hint)
