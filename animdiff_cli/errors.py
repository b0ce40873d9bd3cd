"""Failures the user can act on, and the exit code each ends in."""


class AnimdiffError(Exception):
    """A failure the user can act on. Everything else is a bug and keeps its traceback.

    `hint` is one line that can be typed or done next. `exit_code` is what the shell sees:
    2 usage or config, 3 not found, 4 network or authorization, 5 integrity, 6 device.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(AnimdiffError):
    """A flag, value or config file that cannot be meant."""

    exit_code = 2


class NotFound(AnimdiffError):
    """A model, preset or input file that is not here."""

    exit_code = 3


class NetworkError(AnimdiffError):
    """A transfer that failed, or a server that wants authorization."""

    exit_code = 4


class IntegrityError(AnimdiffError):
    """Weights with a wrong hash, an unsafe container, or a layout nobody knows."""

    exit_code = 5


class DeviceError(AnimdiffError):
    """No such device, not supported by it, or out of its memory."""

    exit_code = 6
