"""Where the time of a step goes: operators and kernels of a profile, by group."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import Contender, Shape, now

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


def profiled(contender: Contender, shape: Shape) -> dict[str, float]:
    """Profile a clip of two steps, decoding included: seconds by group, and on a GPU the gaps between kernels."""
    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    short = Shape(shape.num_frames, shape.size, 2, shape.guidance_scale)
    contender.render(short, lambda: None, lambda: None)
    with profile(activities=activities) as profiler:
        began = now()
        contender.render(short, lambda: None, lambda: None)
        wall = now() - began
    events = profiler.key_averages()
    found = grouped((event.key, _seconds(event, cuda=cuda)) for event in events)
    return found | ({"launch gaps": max(0.0, wall - sum(found.values()))} if cuda else {})


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
