"""Benchmark how torch's CPU threads wait: on an idle machine, and beside one busy process.

    python -m benchmarks.threads                 # on an otherwise idle machine: about ten minutes on two cores
    python -m benchmarks.threads --rounds 5 --steps 20

Renders the same clip of the pocket model with torch's default, with the short spin that the program sets, and with
`OMP_WAIT_POLICY=PASSIVE`, each in its own process, in turns. Prints the median seconds of a clip and its ratio to
torch's default on the idle machine, and appends a line of JSON to `benchmarks/results/threads.jsonl`. Imports and
loading are excluded. The frames of all runs must be equal.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from animdiff_cli.diffusion.device import cpu_name
from animdiff_cli.files.threads import CHOSEN, SPIN

RESULTS = Path(__file__).parent / "results" / "threads.jsonl"
WAITS: Mapping[str, Mapping[str, str]] = {"torch": {}, "ours": SPIN, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}


def main() -> None:
    """Run every case in turns, print and record the results."""
    args = _arguments()
    if args.inside:
        print(json.dumps(_render(args.steps)))
        return
    seconds: dict[str, dict[str, list[float]]] = {name: {"idle": [], "busy": []} for name in WAITS}
    frames = set()
    for _ in range(args.rounds):
        for machine in ("idle", "busy"):
            with _busy_process() if machine == "busy" else _nothing():
                for name, variables in WAITS.items():
                    run = _run_in_subprocess(variables, args.steps)
                    seconds[name][machine].append(round(run["seconds"], 3))
                    frames.add(run["frames"])
    if len(frames) > 1:
        raise SystemExit("the frames differ between runs")
    record = _record(seconds, args.steps)
    _print(record)
    if not args.no_record:
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.threads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="the median of the rounds counts")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--no-record", action="store_true", help="do not append to the results")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _run_in_subprocess(variables: Mapping[str, str], steps: int) -> dict[str, Any]:
    unset = {*CHOSEN, "OMP_NUM_THREADS"}
    environ = {name: value for name, value in os.environ.items() if name not in unset} | dict(variables)
    command = [sys.executable, "-m", "benchmarks.threads", "--inside", "--steps", str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _render(steps: int) -> dict[str, Any]:
    """Time one clip after a short one that warms up. Imports from the module: `animdiff_cli` sets the variables."""
    from animdiff_cli.jobs.generate import load

    animator = load(model="pocket", device="cpu", seed=1)
    animator.generate("a bell", steps=1)
    began = time.perf_counter()
    clip = animator.generate("a red rocket in the night sky", steps=steps)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "frames": hashlib.sha256(clip.frames.tobytes()).hexdigest()}


def _record(seconds: Mapping[str, Mapping[str, list[float]]], steps: int) -> dict[str, Any]:
    medians = {name: {key: statistics.median(runs) for key, runs in runs.items()} for name, runs in seconds.items()}
    base = medians["torch"]["idle"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": cpu_name(),
        "cores": os.cpu_count(),
        "steps": steps,
        "seconds": {name: {key: round(one, 2) for key, one in runs.items()} for name, runs in medians.items()},
        "ratio": {name: {key: round(one / base, 3) for key, one in runs.items()} for name, runs in medians.items()},
        "rounds": seconds,
    }


def _print(record: Mapping[str, Any]) -> None:
    print(f"{record['device']}, {record['cores']} cores, {record['steps']} steps")
    print(f"{'':<8} {'idle s':>8} {'ratio':>6} {'busy s':>8} {'ratio':>6}")
    for name in WAITS:
        seconds, ratio = record["seconds"][name], record["ratio"][name]
        print(f"{name:<8} {seconds['idle']:>8} {ratio['idle']:>6} {seconds['busy']:>8} {ratio['busy']:>6}")


if __name__ == "__main__":
    main()
