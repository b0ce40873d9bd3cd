"""Time group norm with SiLU at the shapes of SD1.5, SDXL and their autoencoder: PyTorch's beside the Triton kernel.

    python -m benchmarks.norms --dtype fp16

Says for each whether PyTorch keeps activations channels-last: releases with an NHWC group norm for CUDA (PyTorch pull
request 191945) do, earlier ones convert.
"""

import argparse
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from animdiff_cli.diffusion.device import TORCH_DTYPES
from animdiff_cli.diffusion.kernels.group_norm import group_norm
from benchmarks.measure import milliseconds
from benchmarks.records import append

SHAPES = {
    "SD1.5, level 1": (32, 320, 64, 64),
    "SD1.5, skip": (32, 640, 64, 64),
    "SD1.5, level 2": (32, 640, 32, 32),
    "SD1.5, level 4": (32, 1280, 8, 8),
    "SDXL, level 1": (16, 320, 128, 128),
    "VAE at 512 px": (4, 128, 512, 512),
    "VAE, level 2": (4, 256, 512, 512),
}
SMALL = {"tiny": (2, 64, 4, 4)}


def main() -> None:
    """Print and record milliseconds, and the largest difference between both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.norms")
    parser.add_argument("--dtype", choices=TORCH_DTYPES, default="fp16")
    parser.add_argument("--smoke", action="store_true", help="one tiny shape")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, shape in (SMALL if args.smoke else SHAPES).items():
        hidden = torch.randn(shape, device=device).to(TORCH_DTYPES[args.dtype], memory_format=torch.channels_last)
        weight, bias = (torch.randn(shape[1], device=device, dtype=hidden.dtype) for _ in range(2))

        def plain(hidden: Tensor = hidden, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return F.silu(F.group_norm(hidden, 32, weight, bias, 1e-5))

        def fused(hidden: Tensor = hidden, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return group_norm(hidden, 32, weight, bias, 1e-5, silu=True)

        with torch.no_grad():
            found = {"torch": round(milliseconds(plain), 4), "triton": round(milliseconds(fused), 4)}
            keeps = plain().is_contiguous(memory_format=torch.channels_last)
            difference = (plain().float() - fused().float()).abs().max().item()
        ratio, layout = found["torch"] / found["triton"], "keeps" if keeps else "loses"
        print(f"{name:<16} {found} ms, {ratio:.2f} times, differ by {difference:.4f}, torch {layout} channels-last")
        record: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"),
            "dtype": args.dtype,
            "shape": shape,
            "milliseconds": found,
        }
        record["milliseconds"] = found
        record["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        record |= {"torch_keeps_channels_last": keeps, "largest_difference": difference, "torch": torch.__version__}
        append("norms", record)


if __name__ == "__main__":
    main()
