"""Time a UNet call of SD1.5's size that runs all layers, and one that reuses deep layers (`--cache`), random weights.

    python -m benchmarks.deep_call --size 256         # two to five minutes on one core

Appends a line of JSON to `benchmarks/results/deep_call.jsonl`, with the mean of N calls of `deep:N`.
"""

import argparse
import time

import torch

from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.build import to_channels_last
from animdiff_cli.diffusion.conditions import ClipContext, PromptCondition, prepared
from animdiff_cli.diffusion.deep_cache import DeepCache
from animdiff_cli.diffusion.device import TORCH_DTYPES, cpu_name, plan_device, probe_machine
from animdiff_cli.diffusion.kernels import install
from animdiff_cli.diffusion.predictors import unet_predictor
from animdiff_cli.motion import plug
from benchmarks.contenders import now
from benchmarks.records import append
from benchmarks.sizes import SIZES, build


def main() -> None:
    """Print and record seconds, of all threads together on a CPU."""
    args = _arguments()
    plan = plan_device(probe_machine(), args.device, args.dtype)
    clock = now if plan.kind == "cuda" else time.process_time
    parts = build(args.model_size, plan.device, plan.torch_dtype, max_frames=args.frames)
    unet, side = parts.unet, args.size // 8
    to_channels_last(unet)
    plug(unet, parts.motion)
    latents = torch.randn(1, 4, args.frames, side, side, device=plan.device)
    text = torch.randn(2, 77, SIZES[args.model_size].text, device=plan.device, dtype=plan.torch_dtype)
    clip = ClipContext(Timeline(args.frames, 8.0, 1), 2, latents.cpu(), plan.device)
    seconds = []
    with torch.no_grad(), install(unet, parts.motion), prepared([PromptCondition(text, True)], unet, clip) as ready:
        predict = unet_predictor(unet, ready, rows=2, cache=DeepCache(unet, 2, plan.device))
        for step in range(2 * args.rounds + 2):
            began = clock()
            predict(latents, torch.tensor(500 - step, device=plan.device), step)
            seconds.append(clock() - began)
    whole, reusing = (min(seconds[2 + kind :: 2]) for kind in range(2))  # without the first two, which warm up
    means = {f"deep:{n}": round((whole + (n - 1) * reusing) / n, 4) for n in (2, 3)}
    print(f"whole {whole:.3f} s, reusing {reusing:.3f} s ({reusing / whole:.1%}); mean of a call: {means}")
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if plan.kind == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "model": args.model_size,
        "dtype": plan.dtype,
        "num_frames": args.frames,
        "size": args.size,
        "seconds": {"whole": round(whole, 4), "reusing": round(reusing, 4), **means},
        "torch": torch.__version__,
    }
    append("deep_call", record)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deep_call", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-size", choices=[name for name in SIZES if "xl" not in name], default="sd15")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", *TORCH_DTYPES], default="auto")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512, help="pixels, square")
    parser.add_argument("--rounds", type=int, default=1, help="calls of each kind that count; the fastest is taken")
    return parser.parse_args()


if __name__ == "__main__":
    main()
