"""Benchmark convolutions of 3 x 3, and group norm with SiLU, on a CPU: torch's operators beside compiled C++.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu_layers

Prints milliseconds and appends a line of JSON for each layer and dtype to `benchmarks/results/cpu_layers.jsonl`.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animdiff_cli.diffusion.device import cpu_name
from animdiff_cli.diffusion.kernels import native, native_layers
from benchmarks.measure import milliseconds
from benchmarks.records import append

#: images, channels, pixels of a side, output channels of the convolution
SHAPES = {
    "pocket, first level": (32, 64, 16, 64),
    "pocket, second level": (32, 128, 8, 128),
    "pocket, third level": (32, 160, 4, 160),
    "pocket, decoding at 64 px": (4, 64, 64, 64),
    "pocket, decoding at 128 px": (4, 32, 128, 32),
    "SD1.5, first level": (2, 320, 64, 320),
}
Ways = dict[str, Callable[[], object]]


@torch.no_grad()
def main() -> None:
    """Run, print and record every shape."""
    head = {"date": time.strftime("%Y-%m-%d"), "device": cpu_name(), "threads": torch.get_num_threads()}
    head |= {"instructions": native.instruction_set(), "shapes": SHAPES}
    for layer, ways in (("convolution", _convolution), ("group norm and SiLU", _norm)):
        for dtype in (torch.bfloat16, torch.float32):
            found = {name: _times(ways(*shape, dtype)) for name, shape in SHAPES.items()}
            for name, times in found.items():
                print(f"{layer:<20} {dtype!s:<15} {name:<28}", times)
            append("cpu_layers", head | {"layer": layer, "dtype": str(dtype), "milliseconds": found})


def _times(ways: Ways) -> dict[str, float]:
    return {name: round(milliseconds(way), 3) for name, way in ways.items() if name != "C++" or native.library()}


def _convolution(images: int, channels: int, side: int, out: int, dtype: torch.dtype) -> Ways:
    layer = nn.Conv2d(channels, out, 3, padding=1).to(dtype)
    plain, rows = _both_layouts(torch.randn(images, channels, side, side).to(dtype))
    return {
        "torch": lambda: layer(plain),
        "torch, channels last": lambda: layer(rows),
        "C++": lambda: native_layers.convolution(rows, layer.weight, layer.bias),
    }


def _norm(images: int, channels: int, side: int, _out: int, dtype: torch.dtype) -> Ways:
    norm = nn.GroupNorm(32, channels).to(dtype)
    plain, rows = _both_layouts(torch.randn(images, channels, side, side).to(dtype))
    return {
        "torch": lambda: F.silu(norm(plain)),
        "torch, channels last": lambda: F.silu(norm(rows)),
        "C++": lambda: native_layers.group_norm(rows, 32, norm.weight, norm.bias, norm.eps, silu=True),
    }


def _both_layouts(hidden: Tensor) -> tuple[Tensor, Tensor]:
    return hidden, hidden.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
