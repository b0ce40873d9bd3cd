"""Benchmark `animdiff batch`: overhead against a bare loop, and scaling with the number of workers.

    python -m benchmarks.batch                        # 50 clips of the bundled model, 1 worker
    python -m benchmarks.batch --workers 1 2 4        # and how much faster several workers are

Prints a table, and appends a line of JSON to `benchmarks/results/batch.jsonl`. The bare loop loads the weights once,
renders every clip and writes it: no manifest, no locks, no hashes. Each run is a process of its own, with one CPU
thread for each worker. Imports are excluded, planning and loading are included. CPU seconds tell more than seconds on a
machine that does other things too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "batch.jsonl"
BARE = "bare"


def main() -> None:
    """Run the cases, print and record the results."""
    args = _arguments()
    if args.inside is not None:
        print(json.dumps(_measure(args.inside, args.clips, args.steps, args.frames)))
        return
    cases = [BARE, *map(str, args.workers)]
    rounds = [{case: _run_in_subprocess(case, args) for case in cases} for _ in range(args.rounds)]
    record = _record(rounds, args)
    _print(record)
    if not args.no_record:
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3, help="the median counts")
    parser.add_argument("--no-record", action="store_true", help="do not append to the results")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_in_subprocess(case: str, args: argparse.Namespace) -> dict[str, float]:
    sizes = ["--clips", str(args.clips), "--steps", str(args.steps), "--frames", str(args.frames)]
    command = [sys.executable, "-m", "benchmarks.batch", "--inside", case, *sizes]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{case}: {result['seconds']:.1f} s, {result['cpu_seconds']:.1f} s of CPU", file=sys.stderr, flush=True)
    return result


def _measure(case: str, clips: int, steps: int, frames: int) -> dict[str, float]:
    from animdiff_cli.jobs.batch.crew import BatchOptions
    from animdiff_cli.jobs.batch.plan import plan_batch
    from animdiff_cli.jobs.batch.run import run_batch
    from animdiff_cli.jobs.loading import load_animator

    settings = {"model": "pocket", "prompt": "a red rocket in the night sky", "steps": steps, "num_frames": frames}
    file = {"defaults": settings, "matrix": {"seed": list(range(clips))}, "output": "{seed}.gif"}
    with tempfile.TemporaryDirectory() as folder:
        began, worked = time.perf_counter(), _cpu_seconds()
        plan = plan_batch(json.dumps(file), "benchmark.yaml", output=folder, device="cpu")
        if case == BARE:
            group = plan.groups[0]
            assert group.weights
            animator = load_animator(group.weights, group.device)
            for job in plan.jobs:
                animator.render(job.config).save(Path(folder, job.outputs["gif"]))
        else:
            result = run_batch(plan, BatchOptions(device="cpu", workers=int(case), threads=1), lambda record: None)
            assert result.done == clips
        seconds, worked = time.perf_counter() - began, _cpu_seconds() - worked
        assert len(list(Path(folder).glob("*.gif"))) == clips
    return {"seconds": seconds, "cpu_seconds": worked}


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _record(rounds: Sequence[Mapping[str, Mapping[str, float]]], args: argparse.Namespace) -> dict[str, Any]:
    from animdiff_cli.diffusion.device import cpu_name

    medians = {
        case: {unit: statistics.median(one[case][unit] for one in rounds) for unit in ("seconds", "cpu_seconds")}
        for case in rounds[0]
    }
    bare, first = medians[BARE], medians[str(args.workers[0])]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": cpu_name(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "clips": args.clips,
        "steps": args.steps,
        "frames": args.frames,
        "seconds": {case: round(one["seconds"], 2) for case, one in medians.items()},
        "cpu_seconds": {case: round(one["cpu_seconds"], 2) for case, one in medians.items()},
        "overhead": round(medians["1"]["seconds"] / bare["seconds"] - 1, 4) if "1" in medians else None,
        "cpu_overhead": round(medians["1"]["cpu_seconds"] / bare["cpu_seconds"] - 1, 4) if "1" in medians else None,
        "speedup": {case: round(first["seconds"] / one["seconds"], 3) for case, one in medians.items() if case != BARE},
        "rounds": rounds,
    }


def _print(record: Mapping[str, Any]) -> None:
    sizes = f"{record['clips']} clips of {record['frames']} frames, {record['steps']} steps"
    print(f"{record['device']}, {record['cores']} cores, load {record['load']}, {sizes}")
    for case, seconds in record["seconds"].items():
        name = "bare loop" if case == BARE else f"{case} worker{'' if case == '1' else 's'}"
        speed = f"{3600 * record['clips'] / seconds:8.0f} clips/h"
        print(f"{name:<10} {seconds:8.1f} s {record['cpu_seconds'][case]:8.1f} s of CPU {speed}")
    if record["overhead"] is not None:
        print(f"overhead {100 * record['overhead']:.1f} %, {100 * record['cpu_overhead']:.1f} % in CPU time")


if __name__ == "__main__":
    main()
