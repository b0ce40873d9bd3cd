"""The two streams: stdout holds results only, stderr everything else. All text is escaped here.

Weights, recipes and file names are untrusted: their control characters must not reach a terminal.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from animdiff_cli.core.text import json_line, printable
from animdiff_cli.core.urls import redacted
from animdiff_cli.errors import AnimdiffError

if TYPE_CHECKING:
    from rich.console import Console

    from animdiff_cli.core.event_records import EmitRecord


def print_out(*lines: object) -> None:
    """Print lines to stdout."""
    for line in lines:
        print(printable(line))
    sys.stdout.flush()


LEAST_COLUMNS = 20  # of the last column of a table


def print_row(start: str, last: object) -> None:
    """Print a row of a table to stdout. On a terminal the last column continues below itself, broken between words.

    A pipe gets one line, whatever its length. Words that are longer than the column are not broken, so that they can be
    copied.
    """
    start, text, width = printable(start), printable(last), terminal_width()
    if width is None or len(start) + len(text) <= width:
        print_out((start + text).rstrip())
        return
    longest = max(map(len, text.split()), default=0)
    column = len(start)
    if column + max(longest, min(len(text), LEAST_COLUMNS)) > width:  # begins on a line of its own
        print_out(start.rstrip())
        start, column = "", len(start) - len(start.lstrip()) + 4
    wrapped = textwrap.wrap(text, max(width - column, LEAST_COLUMNS), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(wrapped):
        print_out(f"{start if number == 0 and start else ' ' * column}{line}")


def print_yaml(record: object) -> None:
    """Print YAML to stdout. On a terminal, long values are continued on the next line, broken between words."""
    import yaml

    width = (terminal_width() or 120) - 20  # PyYAML breaks lines after this column, not before it
    print_out(*yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=width).rstrip().split("\n"))


def terminal_width() -> int | None:
    """Return the number of columns of stdout; None if it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_paths(*paths: object) -> None:
    """Print paths to stdout, one a line. A pipe gets names that are not UTF-8 byte by byte, so scripts can use them."""
    if os.name != "posix" or sys.stdout.isatty():
        print_out(*paths)
        return
    sys.stdout.flush()
    for path in paths:
        sys.stdout.buffer.write(os.fsencode(printable(path, keep_bytes=True)) + b"\n")
    sys.stdout.buffer.flush()


def print_err(*lines: object) -> None:
    """Print lines to stderr, without the credentials of URLs that they quote."""
    for line in lines:
        print(printable(redacted(str(line))), file=sys.stderr, flush=True)


def print_summary(line: object) -> None:
    """Print a sentence to stderr, broken between words on a terminal."""
    text = printable(redacted(str(line)))
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else max(len(text), 1)
    print_err(*textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def print_above(console: "Console", line: object) -> None:
    """Print a line above the progress bars of a console, broken between words."""
    console.print(
        printable(redacted(str(line))), markup=False, emoji=False, highlight=False, overflow="ignore", crop=False
    )


def print_error(error: AnimdiffError, *, as_json: bool) -> None:
    """Print what failed and what to do next to stderr, as two lines or as JSON; each of several mistakes on its own."""
    if as_json:
        record: dict[str, object] = {"error": str(error), "hint": error.hint, "code": error.exit_code}
        if error.mistakes:
            record["mistakes"] = [{"error": str(part), "hint": part.hint} for part in error.mistakes]
        print_err(json_line(record))
        return
    print_err(f"error: {_one_line(str(error))}")
    for part in error.mistakes:
        print_err(f"  {_one_line(str(part))}", *([f"    hint: {_one_line(part.hint)}"] if part.hint else []))
    if error.hint:
        print_err(f"hint: {_one_line(error.hint)}")


def print_json(record: Mapping[str, Any]) -> None:
    """Print one object on one line, so that several are JSON Lines."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json_line(record, ascii_only=not is_utf8), flush=True)


def print_record(*, quiet: bool) -> "EmitRecord":
    """Return a function that prints event records as JSON Lines. `quiet`: only those that say how a clip ended."""
    from animdiff_cli.core.event_records import RESULTS  # pydantic is slow to import

    def write(record: Mapping[str, Any]) -> None:
        if not quiet or record["event"] in RESULTS:
            print_json(record)

    return write


def _one_line(message: str) -> str:
    """Join the lines of a message, which may quote another program."""
    return re.sub(r"\s*\n\s*", " ", message.strip())
