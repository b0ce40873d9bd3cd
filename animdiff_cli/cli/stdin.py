"""Text from stdin, for options and files that are given as `-`."""

import os
import sys

from animdiff_cli.errors import UsageError
from animdiff_cli.files.untrusted import MAX_BYTES


def read_stdin(example: str) -> str:
    """Return stdin as text, read until its end.

    `example` is a command for the hint. Raises `UsageError` for a terminal, which would wait for typed text, for stdin
    that is closed, too long or no UTF-8, and for a NUL.
    """
    if sys.stdin.isatty():
        raise UsageError("stdin is a terminal", hint=f"redirect a file or a pipe to it: `{example}`")
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read stdin: {os.strerror(error.errno or 0).lower()}", hint=f"`{example}`") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"stdin has more than {MAX_BYTES} bytes", hint="give less text at once")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not text: {error}", hint="write it in UTF-8") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UsageError(f"stdin, line {line}: has a NUL character", hint="write it as text, in UTF-8")
    return text
