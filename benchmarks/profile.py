"""Where the time of a step goes: operators and kernels of a profile, by group."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import Contender, Shape, now
from benchmarks.measure import Timing

STEPS = 4  # a CUDA graph is recorded in the second and replayed from the third on

#: the first that is found in the name of an operator or a CUDA kernel names its group
GROUPS = (
    (
        "copies",
        r"nchwToNhwc|nhwcToNchw|memcpy|memset|CatArray|aten::(copy_|cat|clone|contiguous|_to_copy|fill_)|direct_copy",
    ),
    ("attention", r"attention|fmha|flash_fwd|softmax|mem_eff"),
    ("convolution", r"conv|fprop|dgrad|winograd|implicit"),
    ("norms", r"norm|RowwiseMoments|ComputeFusedParams|^_moments|^_affine|^_apply|Welford"),
    (
        "matrix products",
        r"gemm|aten::(mm|bmm|addmm|baddbmm|linear|matmul)|_linear_pointwise|nvjet|cublas|splitK|cutlass",
    ),
    (
        "elementwise",
        r"elementwise|gelu|silu|^_gate|aten::(add|sub|mul|div|exp|sin|cos|pow|sqrt|clamp|where|neg)|index|upsample",
    ),
)


def group_of(name: str) -> str:
    """Return the group of an operator or kernel.

    >>> group_of("aten::native_group_norm"), group_of("sm90_xmma_fprop_implicit_gemm_f16f16_f16f32")
    ('norms', 'convolution')
    >>> group_of("void cudnn::ops::nchwToNhwcKernel<__half>"), group_of("something else")
    ('copies', 'other')
    """
    return next((group for group, pattern in GROUPS if re.search(pattern, name, re.IGNORECASE)), "other")


def grouped(seconds: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Add up times by group, the longest first."""
    total: dict[str, float] = {}
    for name, time in seconds:
        if time:
            total[group_of(name)] = total.get(group_of(name), 0.0) + time
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def profiled(contender: Contender, shape: Shape, timing: Timing) -> dict[str, dict[str, float]]:
    """Profile the last of four steps, and decoding, apart: seconds by group.

    On a GPU they are those of kernels; what is left of the unprofiled times in `timing` are gaps between kernels.
    """
    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    of_step, of_decoding = (profile(activities=activities) for _ in range(2))
    done = 0

    def on_step() -> None:
        nonlocal done
        done += 1
        if done == STEPS - 1:
            now()
            of_step.start()

    def on_denoised() -> None:
        now()
        of_step.stop()
        of_decoding.start()

    contender.render(replace(shape, steps=STEPS), on_step, on_denoised)
    now()
    of_decoding.stop()
    found = {}
    for part, profiler, wall in (("step", of_step, timing.per_step), ("decoding", of_decoding, timing.decode)):
        seconds = grouped((event.key, _seconds(event, cuda=cuda)) for event in profiler.key_averages())
        found[part] = seconds | ({"launch gaps": max(0.0, wall - sum(seconds.values()))} if cuda else {})
    return found


def _seconds(event: Any, *, cuda: bool) -> float:
    """Return the self time of an operator on a CPU; on a GPU of a kernel, which operators then do not count again."""
    if not cuda:
        return float(event.self_cpu_time_total) / 1e6
    is_kernel = event.device_type == torch.autograd.DeviceType.CUDA
    return float(event.self_device_time_total) / 1e6 if is_kernel else 0.0


def print_table(seconds: dict[str, float]) -> None:
    """Print seconds and shares."""
    total = sum(seconds.values())
    for group, time in seconds.items():
        print(f"  {group:<16} {1000 * time:9.1f} ms {time / total:6.1%}")
