"""Standard streams that never raise, so that no clip is lost because its path cannot be printed.

A stream may be closed by the shell (`>&-`), lose its reader (`| head -1`), lie on a full disk, or have an encoding that
lacks a character.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from animdiff_cli.cli.out import print_error
from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import REASONS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: the reader has closed its end of the pipe: it has seen all it wants
_NO_READER = (errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET)


def run(app: Callable[[], object]) -> int:
    """Run a command line on streams that never raise, and return its exit code; 2 if stdout could not be written."""
    _open_closed_descriptors()
    stdout, stderr = _Raw(sys.stdout), _Raw(sys.stderr)
    sys.stdout, sys.stderr = stdout.text(line_buffering=stdout.isatty()), stderr.text(line_buffering=True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123  open until the end
    try:
        app()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.stdout.flush()
    failure = stdout.failure
    if code == 0 and failure is not None and failure.errno not in _NO_READER:
        reason = REASONS.get(failure.errno or 0, (failure.strerror or str(failure)).lower())
        hint = "files named by `-o` are written; direct stdout elsewhere to get the rest"
        print_error(UsageError(f"cannot write to stdout: {reason}", hint=hint), as_json="--json" in sys.argv)
        return UsageError.exit_code
    return code


class _Raw(io.RawIOBase):
    """The bytes of a standard stream. The first failed write is kept as `failure`; later writes do nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  open until the end
        binary = self._stream.buffer
        self._raw = getattr(binary, "raw", binary)  # with `python -u` there is no buffer between
        self.failure: OSError | None = None

    def text(self, *, line_buffering: bool) -> io.TextIOWrapper:
        """Return a text stream in the encoding of the original one, for any text."""
        buffered = io.BufferedWriter(self)
        return io.TextIOWrapper(buffered, self._stream.encoding, "backslashreplace", line_buffering=line_buffering)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def write(self, data: "ReadableBuffer", /) -> int:
        while self.failure is None:
            try:
                written = self._raw.write(data)
            except OSError as error:
                self.failure = error
                break
            if written is not None:
                return int(written)
            select.select([], [self], [])  # a pipe that its other end made non-blocking is full
        return memoryview(data).nbytes


def _open_closed_descriptors() -> None:
    """Open the null device on descriptors 0 to 2 that the shell has closed. The next file opened would get them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
