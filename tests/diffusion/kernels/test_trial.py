"""Triton that is installed and does not work, with kernels that fail as it does."""

import os
import sys
from subprocess import CalledProcessError
from types import SimpleNamespace

import pytest
import torch

from animdiff_cli.diffusion import kernels
from animdiff_cli.diffusion.kernels import install, trial
from animdiff_cli.diffusion.kernels.trial import obstacle

pytest.importorskip("triton")  # Linux only

from animdiff_cli.diffusion.kernels import geglu

CPU = torch.device("cpu")
NO_COMPILER = "Failed to find C compiler. Please specify via CC environment variable"


@pytest.fixture(autouse=True)
def fresh():
    obstacle.cache_clear()
    yield
    obstacle.cache_clear()


def without_headers():
    """Fail as the C compiler does that Triton runs; print what Triton prints."""
    os.write(2, b"main.c: In function 'x':\nmain.c:3:10: fatal error: Python.h: No such file or directory\n")
    sys.stdout.write("=== a hundred lines of PTX ===")
    raise CalledProcessError(1, ["gcc", "main.c"])


def raising(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kernels_that_work_have_no_obstacle(dtype):
    assert obstacle(CPU, dtype) is None


@pytest.mark.parametrize(
    ("fail", "why"),
    [
        (without_headers, "main.c:3:10: fatal error: Python.h: No such file or directory"),
        (raising(RuntimeError(NO_COMPILER)), NO_COMPILER),
        (
            raising(AssertionError("libcuda.so cannot found!\nPossible files are located at")),
            "libcuda.so cannot found!",
        ),
        (raising(ImportError("libtriton.so: undefined symbol")), "libtriton.so: undefined symbol"),
        (raising(KeyError()), "KeyError"),
        (lambda: torch.zeros(4, 128), "its results are wrong"),
    ],
)
def test_the_reason_is_one_line_and_nothing_else_is_printed(monkeypatch, capfd, fail, why):
    monkeypatch.setattr(geglu, "gated", lambda _: fail())
    assert obstacle(CPU, torch.float32) == why
    os.write(2, b"afterwards")
    assert capfd.readouterr() == ("", "afterwards")


def test_it_is_tried_once(monkeypatch):
    calls = []
    monkeypatch.setattr(trial, "_are_right", lambda device, dtype: calls.append(dtype) or True)
    for _ in range(3):
        assert obstacle(CPU, torch.float32) is None
    assert obstacle(CPU, torch.float16) is None
    assert calls == [torch.float32, torch.float16]


def test_memory_that_runs_out_says_nothing_about_triton(monkeypatch):
    monkeypatch.setattr(geglu, "gated", lambda _: raising(torch.OutOfMemoryError("CUDA out of memory"))())
    with pytest.raises(torch.OutOfMemoryError):
        obstacle(CPU, torch.float32)
    monkeypatch.undo()
    assert obstacle(CPU, torch.float32) is None


class OnCuda(torch.nn.Sequential):
    """A norm with the weights of a device that is not here."""

    def __init__(self):
        super().__init__(torch.nn.GroupNorm(2, 4))

    def parameters(self, recurse=True):
        for weight in super().parameters(recurse):
            yield SimpleNamespace(device=torch.device("cuda", 0), dtype=weight.dtype, dim=weight.dim)


@pytest.mark.parametrize(
    ("why", "replaced", "notes"),
    [
        (None, 2, []),
        (NO_COMPILER, 0, [f"rendering without Triton's kernels, which takes longer: {NO_COMPILER}"] * 2),
        (trial.NOT_INSTALLED, 0, []),  # as on Windows: `animdiff doctor` says so
    ],
)
def test_networks_stay_as_they_are_and_a_note_says_why(monkeypatch, why, replaced, notes):
    tried, said = [], []
    monkeypatch.setattr(kernels, "obstacle", lambda device, dtype: tried.append((str(device), dtype)) or why)
    with install(OnCuda(), OnCuda().half(), report=said.append) as installed:
        assert len(installed.replaced) == replaced and not installed.around
    assert said == notes  # a render reports each note once
    assert tried == [("cuda:0", torch.float32), ("cuda:0", torch.float16)]
