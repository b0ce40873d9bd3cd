"""Render the same clips of the pocket model with `--weights-dtype fp8` and without, and measure what is lost.

    python -m benchmarks.fp8

Appends a line of JSON with the means of PSNR in dB and SSIM to `benchmarks/results/fp8.jsonl`.
"""

import argparse
import time
from statistics import mean

import numpy as np
import torch

from animdiff_cli import load
from animdiff_cli.diffusion.device import cpu_name
from animdiff_cli.metrics.full_reference import psnr, ssim
from benchmarks.records import append
from tools.pocket.measure import asked_for

SEED = 1000  # of prompts and noise


def main() -> None:
    """Render, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fp8", description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=5, help="prompts, in turn of the twelve objects")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="of computing")
    args = parser.parse_args()
    exact, packed = (
        load(model="pocket", device="cpu", dtype=args.dtype, weights_dtype=weights) for weights in ("same", "fp8")
    )
    alike = []
    for number, (_, prompt) in enumerate(asked_for(args.clips, SEED)):
        pair = (one.generate(prompt, seed=SEED + number, steps=args.steps).frames for one in (packed, exact))
        frames, of_exact = map(np.asarray, pair)
        alike.append((psnr(frames, of_exact), ssim(frames, of_exact)))
        print(f"{prompt}: PSNR {alike[-1][0]:.1f}, SSIM {alike[-1][1]:.3f}", flush=True)
    means = [round(mean(values), 3) for values in zip(*alike, strict=True)]
    print(f"mean: PSNR {means[0]}, SSIM {means[1]}")
    record = {"date": time.strftime("%Y-%m-%d"), "device": cpu_name(), "model": "pocket", "dtype": args.dtype}
    record |= {"steps": args.steps, "clips": args.clips, "psnr": means[0], "ssim": means[1], "torch": torch.__version__}
    append("fp8", record)


if __name__ == "__main__":
    main()
