"""Benchmark kernels for temporal attention at the shapes of SD1.5: sequences of 16 to 32, batches of tens of thousands.

python -m benchmarks.temporal_attention --dtype fp16
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from animdiff_cli.diffusion.device import TORCH_DTYPES
from benchmarks.measure import milliseconds
from benchmarks.records import append

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

#: (positions, heads, head dimension) of the UNet's levels at 512 px
LEVELS = ((4096, 8, 40), (1024, 8, 80), (256, 8, 160), (64, 8, 160))


def product(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention as two batched matrix products around a softmax."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.softmax(dim=-1) @ value


def backend(choice: SDPBackend) -> Kernel:
    """Return attention that is restricted to one of torch's kernels."""

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(choice):
            return F.scaled_dot_product_attention(query, key, value)

    return run


KERNELS: dict[str, Kernel] = {
    "torch's choice": F.scaled_dot_product_attention,
    "flash": backend(SDPBackend.FLASH_ATTENTION),
    "efficient": backend(SDPBackend.EFFICIENT_ATTENTION),
    "cudnn": backend(SDPBackend.CUDNN_ATTENTION),
    "math": backend(SDPBackend.MATH),
    "product": product,
}
#: layout of [B, F, P*H, D] for the kernel: positions and heads as heads, or everything as batch
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "heads": lambda x: x.transpose(1, 2),
    "batch": lambda x: x.transpose(1, 2).flatten(0, 1).unsqueeze(1),
}


def main() -> None:
    """Time every kernel on every level; print and record milliseconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.temporal_attention")
    parser.add_argument("--dtype", choices=TORCH_DTYPES, default="fp16")
    parser.add_argument("--frames", type=int, default=16)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    times = {
        f"{positions}x{heads}x{width}": _level(positions, heads, width, args.frames, TORCH_DTYPES[args.dtype], device)
        for positions, heads, width in LEVELS
    }
    for level, kernels in times.items():
        print(level, {name: ms if isinstance(ms, str) else round(ms, 3) for name, ms in kernels.items()})
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    record = {"date": time.strftime("%Y-%m-%d"), "device": name, "dtype": args.dtype, "frames": args.frames}
    append("temporal_attention", record | {"milliseconds": times, "torch": torch.__version__})


def _level(
    positions: int, heads: int, width: int, frames: int, dtype: torch.dtype, device: torch.device
) -> dict[str, float | str]:
    shape = (2, frames, positions * heads, width)
    inputs = [torch.randn(shape, device=device, dtype=dtype) for _ in range(3)]
    found: dict[str, float | str] = {}
    with torch.no_grad():
        for layout, arrange in LAYOUTS.items():
            for name, kernel in KERNELS.items():
                try:
                    found[f"{name}, {layout}"] = milliseconds(lambda: kernel(*map(arrange, inputs)))  # noqa: B023
                except RuntimeError as error:
                    found[f"{name}, {layout}"] = str(error).splitlines()[0][:60]
    return found


if __name__ == "__main__":
    main()
