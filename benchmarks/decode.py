"""Time the decoding of one clip's latents by the VAE of SD1.5 or SDXL, random weights: diffusers, plain, with kernels.

    python -m benchmarks.decode --dtype fp16

diffusers decodes 16 frames at once, as `AnimateDiffPipeline` does; this program four, channels-last, rounds to
levels of 255 and stores frames as a render does: one chunk after the other, and with the next one launched ahead
(CUDA). Appends a line of JSON to `benchmarks/results/decode.jsonl`.
"""

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from animdiff_cli.diffusion import decode
from animdiff_cli.diffusion.build import to_channels_last
from animdiff_cli.diffusion.device import TORCH_DTYPES, cpu_name, plan_device, probe_machine
from animdiff_cli.diffusion.kernels import install
from animdiff_cli.outputs.spool import FrameSpool
from benchmarks.contenders import now
from benchmarks.records import append
from benchmarks.sizes import SIZES, build_vae


def main() -> None:
    """Print and record seconds, peak memory, and levels of 255 between kernels and plain layers."""
    args = _arguments()
    plan = plan_device(probe_machine(), args.device, args.dtype)
    torch.manual_seed(0)
    theirs = build_vae(SIZES[args.model_size], plan.device).to(plan.torch_dtype).eval().requires_grad_(False)
    ours = copy.deepcopy(theirs)
    to_channels_last(ours)
    latents = torch.randn(1, 4, args.frames, args.size // 8, args.size // 8, device=plan.device)

    def diffusers() -> Any:
        images = latents[0].transpose(0, 1) / theirs.config.scaling_factor
        with torch.no_grad():
            return theirs.decode(images.to(theirs.dtype), return_dict=False)[0].float().cpu()

    def animdiff(*, kernels: bool, ahead: bool = False) -> Any:
        devices = decode.LAUNCHES_AHEAD if ahead else ()
        with install(ours) if kernels else nullcontext(), patch.object(decode, "LAUNCHES_AHEAD", devices):
            return np.asarray(FrameSpool(decode.decode_chunks(ours, latents)))

    ways: dict[str, Callable[[], Any]] = {
        "diffusers": diffusers,
        "plain": lambda: animdiff(kernels=False),
        "kernels": lambda: animdiff(kernels=True),
        "kernels, ahead": lambda: animdiff(kernels=True, ahead=True),  # as renders do
    }
    found = {name: _measure(way, args.rounds) for name, way in ways.items()}
    fast, plain = ways["kernels"](), ways["plain"]()
    assert np.array_equal(fast, ways["kernels, ahead"]())
    apart = abs(fast.astype(int) - plain)
    for name, (seconds, peak) in found.items():
        print(f"{name:<14} {seconds:8.4f} s {peak / 1e9:7.2f} GB above the weights")
    print(f"kernels differ by {apart.max()} levels of 255 at most, {apart.mean():.4f} on average")
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if plan.kind == "cuda" else cpu_name(),
        "model": args.model_size,
        "dtype": plan.dtype,
        "num_frames": args.frames,
        "size": args.size,
        "seconds": {name: round(seconds, 4) for name, (seconds, _) in found.items()},
        "peak_bytes_above_weights": {name: peak for name, (_, peak) in found.items()},
        "levels_from_plain": {"max": int(apart.max()), "mean": round(float(apart.mean()), 4)},
        "torch": torch.__version__,
    }
    append("decode", record)


def _measure(way: Callable[[], Any], rounds: int) -> tuple[float, int]:
    """Return the seconds of the fastest of several rounds after one that warms up, and its peak bytes (0 on a CPU)."""
    way()
    cuda, seconds = torch.cuda.is_available(), []
    resident = torch.cuda.memory_allocated() if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(rounds):
        began = now()
        way()
        seconds.append(now() - began)
    return min(seconds), torch.cuda.max_memory_allocated() - resident if cuda else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decode", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-size", choices=SIZES, default="sd15")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", *TORCH_DTYPES], default="auto")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512, help="pixels, square")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
