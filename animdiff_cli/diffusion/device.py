"""Choose the device and dtype of a render. The machine is probed once; the choice is a pure function."""

import platform
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from animdiff_cli.core.choices import Dtype, WeightsDtype
from animdiff_cli.core.memory_levels import MemoryLevel
from animdiff_cli.errors import DeviceError, UsageError

DeviceKind = Literal["cuda", "mps", "cpu"]
ALL_ON_DEVICE = MemoryLevel()
TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Machine:
    """Devices of this computer."""

    cuda_names: tuple[str, ...] = ()
    has_mps: bool = False
    cuda_bf16: bool = False  # native bfloat16: compute capability 8.0 and later
    cpu_bf16: bool = False  # AVX512-BF16 or AMX: bfloat16 is then twice as fast as float32


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Device and dtype of a render, and how it fits into the memory of the device."""

    kind: DeviceKind
    index: int
    dtype: Literal["fp32", "fp16", "bf16"]
    weights_dtype: WeightsDtype = "same"  # of the UNet, while its layers do not run
    level: MemoryLevel = ALL_ON_DEVICE
    steps_down: bool = False  # to lower levels, if memory runs out

    @property
    def device(self) -> torch.device:
        return torch.device(self.kind, self.index) if self.kind == "cuda" else torch.device(self.kind)

    @property
    def load_device(self) -> torch.device:
        """Where weights are loaded: on the device, or on the CPU if they rest there or are compressed first."""
        stays = self.level.mode == "off" and self.weights_dtype == "same"
        return self.device if stays else torch.device("cpu")

    @property
    def torch_dtype(self) -> torch.dtype:
        return TORCH_DTYPES[self.dtype]


def probe_machine() -> Machine:
    """Probe devices through torch."""
    cuda = torch.cuda.is_available()
    names = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) if cuda else ()
    return Machine(
        cuda_names=names,
        has_mps=torch.backends.mps.is_available(),
        cuda_bf16=cuda and torch.cuda.get_device_capability()[0] >= 8,
        cpu_bf16=torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
    )


def plan_device(machine: Machine, requested: str = "auto", dtype: Dtype = "auto") -> DevicePlan:
    """Choose device and dtype. `requested`: auto, cuda, cuda:N, mps or cpu.

    Raises `UsageError` for an unknown name, `DeviceError` for a device that is missing or does not support the dtype.
    """
    kind, index = _choose_device(machine, requested)
    if dtype == "auto":
        return DevicePlan(kind, index, _fitting_dtype(machine, kind))
    if kind == "cpu" and dtype == "fp16":
        raise DeviceError("fp16 is very slow on a CPU", hint="use `--dtype bf16` or `--dtype fp32`")
    if kind == "cuda" and dtype == "bf16" and not machine.cuda_bf16:
        raise DeviceError(f"{machine.cuda_names[index]} has no native bf16", hint="use `--dtype fp16`")
    return DevicePlan(kind, index, dtype)


def with_weights_dtype(plan: DevicePlan, weights_dtype: WeightsDtype) -> DevicePlan:
    """Add how the weights of the UNet are stored. Raises `DeviceError` if the device has no such numbers."""
    if weights_dtype == "fp8":
        try:
            torch.zeros(1, device=plan.device).to(torch.float8_e4m3fn).to(plan.torch_dtype)
        except (TypeError, RuntimeError, AttributeError) as error:
            raise DeviceError(
                f"torch {torch.__version__} has no fp8 numbers on {plan.kind}",
                hint="leave `--weights-dtype fp8` out; `--low-vram sequential` needs less memory still",
            ) from error
    return replace(plan, weights_dtype=weights_dtype)


def _choose_device(machine: Machine, requested: str) -> tuple[DeviceKind, int]:
    match = re.fullmatch(r"(auto|cpu|mps|cuda)(?::(\d+))?", requested)
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"unknown device `{requested}`", hint="use `--device auto`, `cuda`, `cuda:1`, `mps` or `cpu`")
    index = int(match[2] or 0)
    have: dict[DeviceKind, bool] = {"cuda": index < len(machine.cuda_names), "mps": machine.has_mps, "cpu": True}
    if match[1] == "auto":
        return next(kind for kind in have if have[kind]), 0
    kind = next(kind for kind in have if kind == match[1])
    if not have[kind]:
        present = ", ".join(other for other in have if have[other])
        raise DeviceError(f"torch finds no {requested} device (found: {present})", hint="use `--device auto`")
    return kind, index


def _fitting_dtype(machine: Machine, kind: DeviceKind) -> Literal["fp32", "fp16", "bf16"]:
    if kind == "cpu":
        return "bf16" if machine.cpu_bf16 else "fp32"
    return "fp16"


def cpu_name() -> str:
    """Return the name of the processor: that of Linux, or what Python reports."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
