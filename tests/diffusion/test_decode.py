"""When chunks are launched, awaited and used, with a stand-in for a GPU that computes while Python goes on."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from animdiff_cli.core.memory_levels import MemoryLevel
from animdiff_cli.diffusion import decode
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.decode import decode_chunks
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.errors import IntegrityError


@dataclass
class StandIn:
    """A VAE that notes what is launched; its pixels are its latents. Frames in `hot` overflow except in float32."""

    log: list = field(default_factory=list)
    hot: tuple[float, ...] = ()
    fails: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float16
    config: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(scaling_factor=1.0))

    @property
    def device(self):
        return torch.device("cpu")

    def decode(self, z, *, return_dict):
        first = round(z[0, 0, 0, 0].item() * 100)
        what = f"launch {first}" + (" in float32" if self.dtype == torch.float32 else "")
        self.log.append(what)
        if self.log.count(what) == 1 and what in self.fails:
            raise torch.OutOfMemoryError("CUDA out of memory")
        pixels = z[:, :3].clone()
        if self.dtype == torch.float16:
            pixels[[round(frame.item() * 100) in self.hot for frame in z[:, 0, 0, 0]]] = float("nan")
        return (pixels,)

    def to(self, dtype):
        self.log.append("to float32")
        self.dtype = dtype


class Reads(TorchDispatchMode):
    """Notes when a number of a tensor is read by Python, for which a GPU has to be awaited."""

    def __init__(self, log):
        super().__init__()
        self.log, self.is_launching = log, False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            self.log.append("read")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def asynchronous(monkeypatch):
    """Take the CPU for a device that computes while Python goes on; return what is logged."""
    log, events = [], iter(range(100))

    def event_after(device):
        number = next(events)
        return SimpleNamespace(synchronize=lambda: log.append(f"wait {number}"))

    monkeypatch.setattr(decode, "LAUNCHES_AHEAD", ("cpu",))
    monkeypatch.setattr(decode, "_event_after", event_after)
    return log


def latents(num_frames):
    """Return latents whose numbers are the index of their frame, in hundredths."""
    frames = torch.arange(num_frames) / 100
    return frames.view(1, 1, -1, 1, 1).expand(1, 4, -1, 2, 2)


def handed_over(vae, log, num_frames=6, **options):
    """Decode in pairs; log each that is handed over, and return all frames."""
    found = []
    on_decoded = lambda done, total: log.append(f"progress {done}/{total}")  # noqa: E731
    for chunk in decode_chunks(vae, latents(num_frames), chunk_size=2, on_decoded=on_decoded, **options):
        log.append(f"use {sum(map(len, found))}")
        found.append(chunk)
    return np.concatenate(found)


def test_the_next_chunk_is_launched_before_one_is_used(asynchronous):
    log = asynchronous
    with Reads(log):
        handed_over(StandIn(log), log)
    first, *rest = log
    assert first == "read"  # whether the latents are finite
    assert rest[:2] == ["launch 0", "launch 2"]
    assert rest[2:6] == ["wait 0", "read", "use 0", "progress 2/6"]
    assert rest[6:11] == ["launch 4", "wait 1", "read", "use 2", "progress 4/6"]
    assert rest[11:] == ["wait 2", "read", "use 4", "progress 6/6"]


def test_a_cpu_decodes_one_chunk_after_the_other():
    log = []
    handed_over(StandIn(log), log, num_frames=4)
    assert log == ["launch 0", "use 0", "progress 2/4", "launch 2", "use 2", "progress 4/4"]


def test_frames_are_those_of_a_cpu_to_the_bit(asynchronous, toy_model):
    vae = load_components(toy_model, DevicePlan("cpu", 0, "fp32")).vae
    noise = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    ahead = np.concatenate(list(decode_chunks(vae, noise, chunk_size=2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "LAUNCHES_AHEAD", ())
        assert np.array_equal(ahead, np.concatenate(list(decode_chunks(vae, noise, chunk_size=2))))
    assert ahead.shape == (5, 64, 64, 3) and ahead.std() > 1


@pytest.mark.parametrize("ahead", [True, False])
def test_what_was_launched_before_an_overflow_was_known_is_decoded_again(request, ahead):
    log = request.getfixturevalue("asynchronous") if ahead else []
    notes = []
    frames = handed_over(StandIn(log, hot=(2,)), log, num_frames=6, report=notes.append)
    assert notes == ["the VAE overflows in float16: decoding in float32"]
    launched = [entry for entry in log if entry.startswith("launch")]
    in_half = ["launch 0", "launch 2", *(["launch 4"] if ahead else [])]
    assert launched == [*in_half, "launch 2 in float32", "launch 4 in float32"]
    exact = np.rint((np.arange(6) / 100 / 2 + 0.5) * 255)
    assert np.array_equal(frames[2:, 0, 0, 0], exact[2:]) and len(frames) == 6


def test_pixels_that_stay_no_numbers_are_refused(asynchronous):
    vae = StandIn(asynchronous, dtype=torch.float32)
    vae.decode = lambda z, *, return_dict: (z[:, :3] * float("nan"),)
    with pytest.raises(IntegrityError, match="decodes to NaN"):
        handed_over(vae, asynchronous)


def test_memory_that_runs_out_ahead_leaves_the_chunk_before_it_alone(asynchronous):
    """The failed launch is repeated with fewer frames; nothing is lost, repeated or out of order."""
    low_vram = SimpleNamespace(
        level=MemoryLevel("sequential", chunk=2),
        device="cuda:0",
        next_level=lambda phase: MemoryLevel("sequential", chunk=1),
        go_to=lambda level: setattr(low_vram, "level", level),
    )
    log, notes = asynchronous, []
    vae = StandIn(log, fails=("launch 2",))
    frames = handed_over(vae, log, num_frames=5, low_vram=low_vram, report=notes.append)
    assert notes == ["out of memory on cuda:0: decoding frame 3 again at `sequential`"]
    launched = [entry for entry in log if entry.startswith("launch")]
    assert launched == ["launch 0", "launch 2", "launch 2", "launch 3", "launch 4"]
    assert np.array_equal(frames, handed_over(StandIn([]), [], num_frames=5))


def test_an_error_of_the_one_who_writes_ends_it(asynchronous):
    log = asynchronous
    chunks = decode_chunks(StandIn(log), latents(8), chunk_size=2)
    next(chunks)
    chunks.close()
    assert log == ["launch 0", "launch 2", "wait 0"]
