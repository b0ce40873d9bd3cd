"""Benchmark one clip in this program and in diffusers, alternating, with the same weights.

    python -m benchmarks.generate --model-size pocket --size 128 --steps 10

Prints seconds and ratios, and appends a line of JSON to `benchmarks/results/generate.jsonl`.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import torch

from animdiff_cli.diffusion.device import TORCH_DTYPES, cpu_name, plan_device, probe_machine
from benchmarks.contenders import Animdiff, Contender, Diffusers, Shape
from benchmarks.measure import Timing, matmul_rate, operations_per_step, time_clip
from benchmarks.sizes import SIZES, build

RESULTS = Path(__file__).parent / "results" / "generate.jsonl"


def main() -> None:
    """Run the benchmark, print and record the results."""
    args = _arguments()
    plan = plan_device(probe_machine(), args.device, args.dtype)
    shape = Shape(args.frames, args.size, args.steps, args.guidance_scale)
    parts = build(args.model_size, plan.device, TORCH_DTYPES[plan.dtype], max_frames=args.frames)
    flops = operations_per_step(args.model_size, parts, shape)
    roof = matmul_rate(plan.device, plan.torch_dtype)
    contenders: list[Contender] = [] if args.only_animdiff else [Diffusers(parts)]
    contenders.append(Animdiff(parts))
    compile_seconds = _compile(contenders, shape) if args.compile else {}
    for contender in contenders:
        time_clip(contender, Shape(shape.num_frames, shape.size, 2, shape.guidance_scale))
    rounds = [{contender.name: time_clip(contender, shape) for contender in contenders} for _ in range(args.rounds)]
    best = {name: min((clips[name] for clips in rounds), key=lambda t: t.per_step) for name in rounds[0]}
    record = _record(args, plan.dtype, plan.kind, shape, best, flops, roof) | {"compile_seconds": compile_seconds}
    _print(record)
    if not args.no_record:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
    if args.profile:
        _profile(contenders[-1], shape)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__)
    parser.add_argument("--model-size", choices=SIZES, default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", *TORCH_DTYPES], default="auto")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512, help="pixels, square")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--rounds", type=int, default=3, help="clips of each contender; the best counts")
    parser.add_argument("--compile", action="store_true", help="torch.compile both UNets")
    parser.add_argument("--only-animdiff", action="store_true", help="leave diffusers out")
    parser.add_argument("--profile", action="store_true", help="show where the time of two steps goes")
    parser.add_argument("--no-record", action="store_true", help="append nothing to the results")
    return parser.parse_args()


def _compile(contenders: list[Contender], shape: Shape) -> dict[str, float]:
    """Compile each UNet and run it once; the compile time is that of the first two steps."""
    seconds = {}
    for contender in contenders:
        contender.compile()
        began = time.perf_counter()
        time_clip(contender, Shape(shape.num_frames, shape.size, 2, shape.guidance_scale))
        seconds[contender.name] = round(time.perf_counter() - began, 1)
    return seconds


def _record(
    args: argparse.Namespace, dtype: str, kind: str, shape: Shape, best: dict[str, Timing], flops: int, roof: float
) -> dict[str, Any]:
    ours, theirs = best["animdiff"], best.get("diffusers")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if kind == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "model": args.model_size,
        "dtype": dtype,
        "compiled": args.compile,
        **asdict(shape),
        "seconds_per_step": {name: round(t.per_step, 5) for name, t in best.items()},
        "seconds_end_to_end": {name: round(t.end_to_end, 4) for name, t in best.items()},
        "seconds_decode": {name: round(t.decode, 4) for name, t in best.items()},
        "peak_gb_above_resident": {name: round(t.peak_bytes / 1e9, 3) for name, t in best.items()},
        "ratio_per_step": round(theirs.per_step / ours.per_step, 3) if theirs else None,
        "ratio_end_to_end": round(theirs.end_to_end / ours.end_to_end, 3) if theirs else None,
        "tflop_per_step": round(flops / 1e12, 4),
        "tflop_per_second": {name: round(flops / t.per_step / 1e12, 3) for name, t in best.items()},
        "matmul_tflop_per_second": round(roof / 1e12, 3),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def _print(record: dict[str, Any]) -> None:
    head = "{device}, {model}, {dtype}, {num_frames} frames, {size} px, {steps} steps".format(**record)
    print(f"{head}{', compiled' if record['compiled'] else ''}")
    roof = record["matmul_tflop_per_second"]
    for name in record["seconds_per_step"]:
        print(
            f"  {name:<10} {record['seconds_per_step'][name]:9.4f} s/step"
            f" {record['seconds_end_to_end'][name]:9.3f} s end to end"
            f" {record['seconds_decode'][name]:8.3f} s decode"
            f" {record['peak_gb_above_resident'][name]:7.2f} GB peak"
            f" {record['tflop_per_second'][name]:8.2f} TFLOP/s of {roof:.1f}"
        )
    if record["ratio_per_step"]:
        print(f"  ratio      {record['ratio_per_step']:.3f} per step, {record['ratio_end_to_end']:.3f} end to end")
    if record["compile_seconds"]:
        print(f"  compiling  {record['compile_seconds']} s")


def _profile(contender: Contender, shape: Shape) -> None:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with profile(activities=activities) as profiler:
        time_clip(contender, Shape(shape.num_frames, shape.size, 2, shape.guidance_scale))
    key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60))


if __name__ == "__main__":
    main()
