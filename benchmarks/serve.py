"""Benchmark `generate --via auto`: how long a clip takes with a server that has the weights loaded, beside its steps.

    python -m benchmarks.serve

Prints the median of some renders of the bundled model, and appends a line of JSON to `benchmarks/results/serve.jsonl`.
The first render loads the weights and is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

RESULTS = Path(__file__).parent / "results" / "serve.jsonl"
COMMAND = [sys.executable, "-m", "animdiff_cli"]


def main() -> None:
    """Run the renders, print and record the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="the median counts")
    parser.add_argument("--no-record", action="store_true", help="do not append to the results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="animdiff-") as folder, _server(Path(folder)) as events:
        rounds = [_render(Path(folder), seed, args.steps, events) for seed in range(args.rounds + 1)][1:]
    median = {name: round(statistics.median(times[name] for times in rounds), 3) for name in rounds[0]}
    for name, seconds in median.items():
        print(f"{name:<32} {seconds:6.2f} s")
    if not args.no_record:
        with RESULTS.open("a") as file:
            file.write(json.dumps({"steps": args.steps, "cpus": os.cpu_count(), **median}) + "\n")


@contextmanager
def _server(folder: Path) -> Iterator["Queue[tuple[float, dict[str, Any]]]"]:
    """Run a server; yields its event records with the time at which they arrive."""
    words = ["serve", "--port", "0", "--json", "-o", str(folder / "served")]
    process = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environ(folder)
    )
    assert process.stdout and process.stderr
    records: Queue[tuple[float, dict[str, Any]]] = Queue()
    lines = iter(process.stdout)
    Thread(target=lambda: [records.put((time.monotonic(), json.loads(line))) for line in lines], daemon=True).start()
    process.stderr.readline()  # it is ready
    Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield records
    finally:
        process.terminate()
        process.wait()


def _render(folder: Path, seed: int, steps: int, events: "Queue[tuple[float, dict[str, Any]]]") -> dict[str, float]:
    words = ["generate", "--via", "auto", "--model", "pocket", "--prompt", "a red ball", "--steps", str(steps), "-q"]
    path = folder / f"{seed}.gif"
    began = time.monotonic()
    used = os.times()
    command = [*COMMAND, *words, "--seed", str(seed), "-o", str(path)]
    subprocess.run(command, check=True, env=_environ(folder), stdout=subprocess.DEVNULL)
    ended, cpu = time.monotonic(), os.times()
    assert path.exists()
    at: dict[str, float] = {}
    while "done" not in at:
        arrived, record = events.get(timeout=60)
        at[record["event"]] = arrived  # of the last of its kind
    return {
        "whole command": ended - began,
        "until the server begins": at["started"] - began,
        "steps, with the prompt": at["step"] - at["started"],
        "decoding and writing": at["done"] - at["step"],
        "after that, download and exit": ended - at["done"],
        "all but the steps": ended - began - (at["step"] - at["started"]),
        "CPU time of the client": cpu.children_user + cpu.children_system - used.children_user - used.children_system,
    }


def _environ(folder: Path) -> dict[str, str]:
    return os.environ | {"ANIMDIFF_STATE": str(folder / "state"), "ANIMDIFF_CACHE": str(folder / "cache")}


if __name__ == "__main__":
    main()
