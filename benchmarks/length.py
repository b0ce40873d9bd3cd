"""Benchmark clips of the pocket model from 16 to 512 frames, windows around the UNet and inside the motion module.

    python -m benchmarks.length                          # the table of docs/guides/long-clips.md
    python -m benchmarks.length --frames 32 512 --modes unet --steps 1

Each clip is rendered and written by a process of its own. Prints a table, and appends a line of JSON per clip to
`benchmarks/results/length.jsonl`. `calls` are UNet calls per frame, counting the frames of a call, guidance left out.
Memory is the peak from loading to the written file, minus what is resident after loading.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from animdiff_cli.diffusion.device import cpu_name
from benchmarks.load import status_bytes

RESULTS = Path(__file__).parent / "results" / "length.jsonl"
SIZE = 128


def main() -> None:
    """Render every clip, print and record the results."""
    args = _arguments()
    if args.inside:
        print(json.dumps(_measure(args.modes[0], args.frames[0], args.steps, args.format)))
        return
    for frames in args.frames:
        for mode in args.modes:
            record = _record(mode, frames, args.steps, _run_in_subprocess(mode, frames, args.steps, args.format))
            _print(record)
            if not args.no_record:
                RESULTS.parent.mkdir(exist_ok=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(record) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.length", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", nargs="+", type=int, default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--modes", nargs="+", choices=["unet", "plug"], default=["unet", "plug"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--format", default="mp4")
    parser.add_argument("--no-record", action="store_true", help="append nothing to the results")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_in_subprocess(mode: str, frames: int, steps: int, format: str) -> dict[str, Any]:
    words = ["--modes", mode, "--frames", str(frames), "--steps", str(steps), "--format", format]
    command = [sys.executable, "-m", "benchmarks.length", "--inside", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(mode: str, num_frames: int, steps: int, format: str) -> dict[str, Any]:
    from animdiff_cli import load
    from animdiff_cli.core.events import FramesDecoded, StepDone

    settings = {"num_frames": num_frames, "width": SIZE, "height": SIZE, "context_length": 16}
    animator = load(model="pocket", device="cpu", seed=1, steps=steps, context_mode=mode, **settings)
    animator.hashes.result()
    calls = _count_frames(animator.components.unet)
    loaded, began = status_bytes("VmRSS"), time.perf_counter()
    moments = {StepDone: began, FramesDecoded: began}

    def emit(event: object) -> None:
        if type(event) in moments:
            moments[type(event)] = time.perf_counter()

    clip = animator.generate("a red balloon in the snow", emit=emit)
    with tempfile.TemporaryDirectory() as folder:
        clip.save(Path(folder) / "clip", format)
    return {
        "seconds_denoise": moments[StepDone] - began,
        "seconds_decode": moments[FramesDecoded] - moments[StepDone],
        "seconds_write": time.perf_counter() - moments[FramesDecoded],
        "frames_in_calls": sum(calls) / 2,  # two rows with guidance
        "loaded_bytes": loaded,
        "peak_bytes": status_bytes("VmHWM") - loaded,
    }


def _count_frames(unet: Any) -> list[int]:
    """Return a list that grows by the batch size of every call of `unet`."""
    calls: list[int] = []
    unet.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    return calls


def _record(mode: str, frames: int, steps: int, run: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": cpu_name(),
        "model": "pocket",
        "size": SIZE,
        "mode": mode,
        "frames": frames,
        "steps": steps,
        "seconds_per_frame_and_step": round(run["seconds_denoise"] / frames / steps, 4),
        "seconds_decode_per_frame": round(run["seconds_decode"] / frames, 4),
        "seconds_write_per_frame": round(run["seconds_write"] / frames, 4),
        "calls_per_frame": round(run["frames_in_calls"] / frames / steps, 3),
        "loaded_mb": round(run["loaded_bytes"] / 1e6, 1),
        "peak_mb_above_loaded": round(run["peak_bytes"] / 1e6, 1),
    }


def _print(record: dict[str, Any]) -> None:
    print(
        "{frames:>5} frames  {mode}  {seconds_per_frame_and_step:8.4f} s per frame and step"
        "  {calls_per_frame:6.3f} calls per frame  {seconds_decode_per_frame:8.4f} s decoding"
        "  {seconds_write_per_frame:8.4f} s writing  {peak_mb_above_loaded:7.1f} MB above {loaded_mb:.1f}".format(
            **record
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
