"""Why a job of a batch failed, in a form that can be recorded and sent to another process."""

import traceback
from collections.abc import Iterator

from animdiff_cli.errors import AnimdiffError
from animdiff_cli.files.os_errors import DISK_FULL, unexpected_failure
from animdiff_cli.jobs.batch.manifest import Failure


class RenderError(Exception):
    """A failure on another machine. `is_broken`: see `Outcome`."""

    def __init__(self, failure: Failure, is_broken: bool = False) -> None:
        super().__init__(failure, is_broken)  # what pickle passes when it is received
        self.failure = failure
        self.is_broken = is_broken


class WorkerLost(Exception):
    """The worker that rendered a task has ended."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def describe(error: Exception) -> Failure:
    """Describe why a job failed. An error that the user cannot act on is a bug, and keeps its traceback."""
    if isinstance(error, RenderError):
        return error.failure
    known = unexpected_failure(error) if isinstance(error, OSError) else error
    if isinstance(known, AnimdiffError):
        return Failure(message=str(known), hint=known.hint, code=known.exit_code)
    text = "".join(traceback.format_exception(error))
    return Failure(message=f"{type(error).__name__}: {error}", traceback=text)


def is_sticky(error: BaseException) -> bool:
    """Return whether the GPU context of the process is lost, so that every later operation on it fails too.

    Memory that runs out is not such an error.
    """
    for one in _chain(error):
        if isinstance(one, RenderError):
            return one.is_broken
        if isinstance(one, RuntimeError) and "CUDA error" in str(one):  # `torch.AcceleratorError` from torch 2.8 on
            return True
    return False


def is_disk_full(error: BaseException) -> bool:
    """Return whether a job failed because the disk, or the user's part of it, is full."""
    return any(isinstance(one, OSError) and one.errno in DISK_FULL for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
