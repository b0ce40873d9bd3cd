"""Benchmark one clip in this program and in diffusers, alternating, with the same weights.

    python -m benchmarks.generate --model-size pocket --size 128 --steps 10

Prints seconds and ratios, and appends a line of JSON to `benchmarks/results/generate.jsonl`.
"""

import argparse
import time
from dataclasses import asdict
from typing import Any

import diffusers
import torch

from animdiff_cli.diffusion.device import TORCH_DTYPES, cpu_name, plan_device, probe_machine
from benchmarks.contenders import MODES, Animdiff, Contender, Diffusers, Shape
from benchmarks.measure import Timing, matmul_rate, operations_per_step, time_clip
from benchmarks.profile import print_table, profiled
from benchmarks.records import append
from benchmarks.sizes import SIZES, build


def main() -> None:
    """Run the benchmark, print and record the results."""
    args = _arguments()
    plan = plan_device(probe_machine(), args.device, args.dtype)
    shape = Shape(args.frames, args.size, args.steps, args.guidance_scale)
    parts = build(args.model_size, plan.device, TORCH_DTYPES[plan.dtype], max_frames=args.frames)
    flops = operations_per_step(args.model_size, parts, shape)
    roof = matmul_rate(plan.device, plan.torch_dtype)
    contenders: list[Contender] = [] if args.only_animdiff else [Diffusers(parts)]
    contenders += [Animdiff(parts, mode) for mode in args.modes]
    compile_seconds = _compile(contenders, shape) if args.compile else {}
    first = {contender.name: time_clip(contender, _short(shape)).end_to_end for contender in contenders}
    rounds = [{contender.name: time_clip(contender, shape) for contender in contenders} for _ in range(args.rounds)]
    best = {name: min((clips[name] for clips in rounds), key=lambda t: t.per_step) for name in rounds[0]}
    record = _record(args, plan.dtype, plan.kind, shape, best, flops, roof)
    first_clip = {name: round(seconds, 2) for name, seconds in first.items()}
    record |= {"compile_seconds": compile_seconds, "first_clip_seconds": first_clip}
    _print(record)
    if args.profile:
        record["profiles"] = {}
        for contender in contenders:
            record["profiles"][contender.name] = profiled(contender, shape, best[contender.name])
            for part, seconds in record["profiles"][contender.name].items():
                print(f"  {contender.name}, {part}:")
                print_table(seconds)
    if "plain" in args.modes:
        record["levels_from_plain"] = _levels(best, best["animdiff plain"].frames)
        print(f"  levels of 255 from plain: {record['levels_from_plain']}")
    if args.from_fp32:
        same = build(args.model_size, plan.device, torch.float32, max_frames=args.frames)
        record["levels_from_fp32"] = _levels(best, time_clip(Animdiff(same, "plain"), shape).frames)
        print(f"  levels of 255 from plain in fp32: {record['levels_from_fp32']}")
    if not args.no_record:
        append("generate", record)


def _short(shape: Shape) -> Shape:
    """Return two steps of a clip."""
    return Shape(shape.num_frames, shape.size, 2, shape.guidance_scale)


def _levels(clips: dict[str, Timing], reference: Any) -> dict[str, dict[str, float]]:
    """Return how far the frames of each way to run this program are from those of a reference, of 255 levels."""
    found = {}
    for name, timing in clips.items():
        if name != "diffusers" and timing.frames is not reference:
            apart = abs(timing.frames.astype(float) - reference)
            found[name] = {"max": float(apart.max()), "mean": round(float(apart.mean()), 4)}
    return found


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
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["auto"], help="ways to run this program")
    parser.add_argument("--only-animdiff", action="store_true", help="leave diffusers out")
    parser.add_argument("--from-fp32", action="store_true", help="compare frames with the same weights in float32")
    parser.add_argument("--profile", action="store_true", help="show where the time of a step and of decoding goes")
    parser.add_argument("--no-record", action="store_true", help="append nothing to the results")
    return parser.parse_args()


def _compile(contenders: list[Contender], shape: Shape) -> dict[str, float]:
    """Compile each UNet and run it once; the compile time is that of the first two steps."""
    seconds = {}
    for contender in contenders:
        contender.compile()
        began = time.perf_counter()
        time_clip(contender, _short(shape))
        seconds[contender.name] = round(time.perf_counter() - began, 1)
    return seconds


def _record(
    args: argparse.Namespace, dtype: str, kind: str, shape: Shape, best: dict[str, Timing], flops: int, roof: float
) -> dict[str, Any]:
    theirs = best.get("diffusers")
    ours = min((timing for name, timing in best.items() if name != "diffusers"), key=lambda timing: timing.per_step)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if kind == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "model": args.model_size,
        "dtype": dtype,
        "compiled": args.compile,
        **asdict(shape),
        "seconds_per_step": {name: round(t.per_step, 5) for name, t in best.items()},
        "seconds_end_to_end": {name: round(t.end_to_end, 4) for name, t in best.items()},
        "seconds_decode": {name: round(t.decode, 4) for name, t in best.items()},
        "peak_gb_above_resident": {name: round(t.peak_bytes / 1e9, 3) for name, t in best.items()},
        "ratio_per_step": round(theirs.per_step / ours.per_step, 3) if theirs else None,
        "ratios_per_step": {name: round(theirs.per_step / t.per_step, 3) for name, t in best.items()} if theirs else {},
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
            f"  {name:<24} {record['seconds_per_step'][name]:9.4f} s/step"
            f" {record['seconds_end_to_end'][name]:9.3f} s end to end"
            f" {record['seconds_decode'][name]:8.3f} s decode"
            f" {record['peak_gb_above_resident'][name]:7.2f} GB peak"
            f" {record['tflop_per_second'][name]:8.2f} TFLOP/s of {roof:.1f}"
        )
    if record["ratio_per_step"]:
        print(f"  ratio (fastest) {record['ratio_per_step']:.3f} per step, {record['ratio_end_to_end']:.3f} end to end")
    first = {name: f"{seconds:.1f} s" for name, seconds in record["first_clip_seconds"].items()}
    print(f"  first clip, of two steps: {first}")
    if record["compile_seconds"]:
        print(f"  compiling  {record['compile_seconds']} s")


if __name__ == "__main__":
    main()
