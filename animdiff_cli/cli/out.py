"""The two streams: stdout holds results only, stderr everything else. All text is escaped here.

Weights, recipes and file names are untrusted: their control characters must not reach a terminal.
"""

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from animdiff_cli.core.text import json_line, printable
from animdiff_cli.errors import AnimdiffError

if TYPE_CHECKING:
    from rich.console import Console


def print_out(*lines: object) -> None:
    """Print lines to stdout."""
    for line in lines:
        print(printable(line))
    sys.stdout.flush()


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
    """Print lines to stderr."""
    for line in lines:
        print(printable(line), file=sys.stderr, flush=True)


def print_above(console: "Console", line: object) -> None:
    """Print a line above the progress bars of a console."""
    console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_error(error: AnimdiffError, *, as_json: bool) -> None:
    """Print what failed and what to do next to stderr, as two lines or as JSON."""
    if as_json:
        print_err(json_line({"error": str(error), "hint": error.hint, "code": error.exit_code}))
        return
    print_err(f"error: {_one_line(str(error))}")
    if error.hint:
        print_err(f"hint: {_one_line(error.hint)}")


def print_json(record: Mapping[str, Any]) -> None:
    """Print one object on one line, so that several are JSON Lines."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json_line(record, ascii_only=not is_utf8), flush=True)


def _one_line(message: str) -> str:
    """Join the lines of a message, which may quote another program."""
    return re.sub(r"\s*\n\s*", " ", message.strip())
