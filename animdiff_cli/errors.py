"""Errors that users can act on, and their exit codes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class AnimdiffError(Exception):
    """An error that the user can act on. All other exceptions are bugs and keep their traceback.

    `hint` is one line with the next step. `exit_code` is the exit code of the process: 2 usage or config, 3 not found,
    4 network or authorization, 5 integrity, 6 device, 7 a batch with failed clips. `mistakes` are the errors of which
    this one is the sum.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, mistakes: "Sequence[AnimdiffError]" = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.mistakes = tuple(mistakes)


class UsageError(AnimdiffError):
    """An invalid flag, value or config file."""

    exit_code = 2


class NotFound(AnimdiffError):
    """A missing model, preset or input file."""

    exit_code = 3


class NetworkError(AnimdiffError):
    """A failed transfer or missing authorization."""

    exit_code = 4


class IntegrityError(AnimdiffError):
    """Weights with a wrong hash, an unsafe container or an unknown layout."""

    exit_code = 5


class DeviceError(AnimdiffError):
    """A missing or unsupported device, or out of device memory."""

    exit_code = 6


class ClipsFailed(AnimdiffError):
    """A batch that has ended, and in which clips failed."""

    exit_code = 7
