"""How fast this machine has rendered: measured by every render, kept in a small file, read by a dry run."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from json import dumps
from pathlib import Path

import torch

from animdiff_cli import paths
from animdiff_cli.diffusion.device import DevicePlan, cpu_name
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.untrusted import read_json

MAX_RATES = 200
#: a rate says little about a clip whose frames take this many times more or fewer operations
COMPARABLE = 3.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What one render took, in seconds, beside its counted operations."""

    machine: str  # device, dtype and threads, as `machine_name` writes them
    frames: int  # of a UNet call
    call_flops: float  # of a UNet call, on average
    call_seconds: float
    frame_flops: float  # to decode one frame
    frame_seconds: float  # to decode and write it
    weight_bytes: float
    setup_seconds: float  # loading, encoding the prompt, and what the first step takes longer than others

    @property
    def is_valid(self) -> bool:
        """Whether every field has its type and a value that can be measured."""
        numbers = [getattr(self, field.name) for field in fields(self) if field.name != "machine"]
        is_number = all(isinstance(number, (int, float)) and 0 < number < math.inf for number in numbers)
        return isinstance(self.machine, str) and is_number

    @property
    def flops_per_frame(self) -> float:
        return self.call_flops / self.frames


def machine_name(plan: DevicePlan) -> str:
    """Name what a rate depends on: the device, the dtype, and on a CPU the number of threads.

    >>> machine_name(DevicePlan("cpu", 0, "fp32")).startswith("cpu ")
    True
    """
    if plan.kind == "cuda":
        return f"cuda {torch.cuda.get_device_name(plan.index)}, {plan.dtype}"
    threads = f", {torch.get_num_threads()} threads" if plan.kind == "cpu" else ""
    return f"{plan.kind} {cpu_name()}{threads}, {plan.dtype}"


def best_rate(rates: Sequence[Rate], machine: str, frames: int, call_flops: float) -> Rate | None:
    """Return the rate of this machine whose UNet call is most like this one; None if none is comparable."""

    def distance(rate: Rate) -> float:
        return abs(math.log(call_flops / rate.call_flops)) + _log_ratio(rate)

    def _log_ratio(rate: Rate) -> float:
        return abs(math.log(call_flops / frames / rate.flops_per_frame))

    comparable = [rate for rate in rates if rate.machine == machine and _log_ratio(rate) <= math.log(COMPARABLE)]
    return min(comparable, key=distance, default=None)


def read_rates() -> list[Rate]:
    """Read the rates of earlier renders, newest first. A damaged file or entry is left out: it is only a cache."""
    try:
        entries = read_json(_file())
    except (OSError, ValueError):
        return []
    rates = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(TypeError):  # an entry of another version
            rates.append(Rate(**entry))
    return [rate for rate in rates if rate.is_valid]


def remember_rate(rate: Rate) -> None:
    """Keep a rate in place of an earlier one of the same work. A file that cannot be written is left out."""
    if not rate.is_valid:
        return
    others = [other for other in read_rates() if _work(other) != _work(rate)]
    with suppress(OSError):
        atomic_write_text(_file(), dumps([asdict(kept) for kept in [rate, *others][:MAX_RATES]], indent=1))


def _work(rate: Rate) -> tuple[object, ...]:
    return rate.machine, rate.frames, rate.call_flops, rate.frame_flops, rate.weight_bytes


def _file() -> Path:
    return paths.cache_dir() / "rates.json"
