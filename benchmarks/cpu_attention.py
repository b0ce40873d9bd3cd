"""Benchmark attention with small heads on a CPU: torch's kernel, products of torch's operators, and compiled C++.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu_attention

Prints milliseconds and appends a line of JSON for each dtype to `benchmarks/results/cpu_attention.jsonl`.
"""

import time
from typing import Any

import torch
import torch.nn.functional as F

from animdiff_cli.diffusion.device import cpu_name
from animdiff_cli.diffusion.kernels import native, native_layers
from animdiff_cli.diffusion.kernels.attention_products import attention_in_parts
from benchmarks.measure import milliseconds
from benchmarks.records import append

#: batch, heads, queries, keys, numbers of a head
SHAPES = {
    "pocket, within frames": (32, 8, 256, 256, 8),
    "pocket, along frames": (2, 2048, 16, 16, 8),
    "pocket, text": (2, 8, 4096, 77, 8),
    "pocket, within frames, second level": (32, 8, 64, 64, 16),
    "SD1.5, along frames": (1, 4096, 16, 16, 40),
    "SD1.5, within frames": (1, 8, 1024, 1024, 40),
}
WAYS = {"torch": F.scaled_dot_product_attention, "products": attention_in_parts, "C++": native_layers.attention}


@torch.no_grad()
def main() -> None:
    """Run, print and record every shape."""
    for dtype in (torch.bfloat16, torch.float32):
        found = {name: _times(shape, dtype) for name, shape in SHAPES.items()}
        head = {"date": time.strftime("%Y-%m-%d"), "device": cpu_name(), "threads": torch.get_num_threads()}
        head["instructions"] = native.instruction_set()
        for name, times in found.items():
            print(f"{dtype!s:<15} {name:<38}", "  ".join(f"{way} {time:7.2f} ms" for way, time in times.items()))
        append("cpu_attention", head | {"dtype": str(dtype), "shapes": SHAPES, "milliseconds": found})


def _times(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Any]:
    batch, heads, queries, keys, width = shape
    query, key, value = (  # views of projections, as a UNet has them
        torch.randn(batch, tokens, heads, width).to(dtype).transpose(1, 2) for tokens in (queries, keys, keys)
    )
    ways = {name: way for name, way in WAYS.items() if name != "C++" or native.library()}
    return {name: round(milliseconds(lambda way=way: way(query, key, value)), 3) for name, way in ways.items()}


if __name__ == "__main__":
    main()
