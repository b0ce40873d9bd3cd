"""Whether Triton works on a GPU: it may lack a C compiler, Python's headers, or support for the GPU."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from functools import lru_cache
from importlib.util import find_spec
from io import StringIO
from typing import IO

import torch
import torch.nn.functional as F

from animdiff_cli.diffusion.memory import is_out_of_memory

NOT_INSTALLED = "Triton is not installed"
MAX_LENGTH = 160  # characters of a reason
STDERR = 2


@lru_cache(None)
def obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Run each kernel once on a few numbers, and compare with PyTorch; return in one line what is wrong, or None.

    On a machine where they never ran they are compiled, for a few seconds. A render needs the same code.
    """
    if find_spec("triton") is None:
        return NOT_INSTALLED
    with _captured_stderr() as log:
        try:
            return None if _are_right(device, dtype) else "its results are wrong"
        except Exception as error:  # Triton, its compilers and the driver raise exceptions of any class
            if is_out_of_memory(error):
                raise
            return _in_one_line(error, log)


def remedy(why: str) -> str:
    """Return what to do about an obstacle."""
    if why == NOT_INSTALLED:
        return "run `pip install triton`"
    return "if it lacks a C compiler or Python's headers, run `apt install gcc python3-dev`"


def first_line(error: Exception) -> str:
    """Return the first line of a message, at most `MAX_LENGTH` characters of it; the class if there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()[:MAX_LENGTH]


def _are_right(device: torch.device, dtype: torch.dtype) -> bool:
    from animdiff_cli.diffusion.kernels.geglu import gated  # Triton takes a second to import
    from animdiff_cli.diffusion.kernels.group_norm import group_norm

    numbers = torch.linspace(-2, 2, 1024, device=device).to(dtype)
    image, projected, ones = numbers.view(1, 16, 8, 8), numbers.view(4, 256), torch.ones_like(numbers[:16])
    value, gate = projected.chunk(2, dim=-1)
    pairs = (
        (group_norm(image, 4, ones, ones, 1e-5, silu=True), F.silu(F.group_norm(image, 4, ones, ones, 1e-5))),
        (gated(projected), value * F.gelu(gate)),
    )
    return all(torch.allclose(ours.float(), theirs.float(), rtol=0.05, atol=0.05) for ours, theirs in pairs)


@contextmanager
def _captured_stderr() -> Iterator[IO[bytes]]:
    """Keep what compilers and Triton print, in a file and out of sight: only the reason is reported."""
    with tempfile.TemporaryFile() as log, redirect_stdout(StringIO()), ExitStack() as undo:
        with suppress(OSError):  # it may be closed
            kept = os.dup(STDERR)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, STDERR)
            os.dup2(log.fileno(), STDERR)
        yield log


def _in_one_line(error: Exception, log: IO[bytes]) -> str:
    """Return the first error of a compiler, or of the exception."""
    log.seek(0)
    errors = (line for line in log.read().decode(errors="replace").splitlines() if "error:" in line)
    return next(errors, "")[:MAX_LENGTH] or first_line(error)
