"""Benchmark loading of full-size weights: time and memory, each case in its own process.

    python -m benchmarks.load                    # SD1.5 checkpoint and v3 module, as one file and as a folder
    python -m benchmarks.load --dtype fp32 --cases file pickle

Writes random files to `.bench/` once (5 GB with `pickle`), prints a table, and appends a line of JSON per case to
`benchmarks/results/load.jsonl`. Imports of torch and diffusers are excluded. `read` is the lower bound: reading the
same bytes into memory. Memory is the peak minus the memory after imports.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animdiff_cli.diffusion.device import cpu_name

RESULTS = Path(__file__).parent / "results" / "load.jsonl"
FOLDER = Path(".bench")
#: image model and motion module of each case
CASES = {
    "file": ("sd15", "v3"),  # one file and a safetensors module
    "folder": ("folder", "v3"),  # the same model as a diffusers folder
    "pickle": ("sd15", "v3-pickle"),  # the module as published: fp32, `.ckpt`
    "sdxl": ("sdxl", "mm-sdxl"),
}


def main() -> None:
    """Write the files, run the cases, print and record the results."""
    args = _arguments()
    if args.inside:
        print(json.dumps(_measure(args.inside, args.files, args.dtype)))
        return
    for case in args.cases:
        files = [_path_of(name) for name in CASES[case]]
        rounds = [
            {what: _run_in_subprocess(what, files, args.dtype) for what in ("read", "load")} for _ in range(args.rounds)
        ]
        record = _record(case, args.dtype, rounds)
        _print(record)
        if not args.no_record:
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["file", "folder"])
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest round of each case counts")
    parser.add_argument("--no-record", action="store_true", help="do not append to the results")
    parser.add_argument("--inside", choices=["read", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs="*", type=Path, default=[], help=argparse.SUPPRESS)
    return parser.parse_args()


def _path_of(name: str) -> Path:
    from benchmarks.true_size import write

    if name != "folder":
        return write(name, FOLDER)
    folder = FOLDER / "sd15-folder"
    if not folder.is_dir():
        from animdiff_cli.jobs.convert import convert_weights, plan_conversion

        convert_weights(plan_conversion(str(write("sd15", FOLDER)), "diffusers", output=folder))
    return folder


def _run_in_subprocess(what: str, files: Sequence[Path], dtype: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", "--inside", what, "--dtype", dtype, "--files", *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(what: str, files: Sequence[Path], dtype: str) -> dict[str, Any]:
    from animdiff_cli.diffusion.build import load_components
    from animdiff_cli.diffusion.device import DevicePlan
    from animdiff_cli.motion import load_motion_module, plug
    from animdiff_cli.weights.completeness import expected_shapes
    from animdiff_cli.weights.folders import model_files
    from animdiff_cli.weights.model_configs import shipped_config

    expected_shapes("text_encoder", shipped_config("sd15", "text_encoder"))  # imports diffusers and transformers
    model, module = files
    plan = DevicePlan("cpu", 0, "fp32" if dtype == "fp32" else "bf16")
    before, began, worked = status_bytes("VmRSS"), time.perf_counter(), time.process_time()
    if what == "read":
        kept: Any = [_read(path) for path in (*model_files(model), module)]
        size = sum(tensor.numel() for tensor in kept)
    else:
        kept = load_components(model, plan)
        motion = load_motion_module(module, dtype=plan.torch_dtype)
        motion = plug(kept.unet, motion)
        parts = (kept.unet, kept.vae, kept.text_encoder, kept.text_encoder_2, motion)
        size = sum(t.numel() * t.element_size() for part in parts if part for t in part.state_dict().values())
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    peak = status_bytes("VmHWM")
    return {
        "seconds": seconds,
        "cpu_seconds": worked,
        "bytes": size,
        "peak_bytes": peak - before,
        "peak_bytes_in_all": peak,
    }


def _read(path: Path) -> Any:
    """Read a file into memory as fast as possible."""
    import torch

    buffer = torch.empty(path.stat().st_size, dtype=torch.uint8)
    view = memoryview(buffer.numpy())
    with path.open("rb", buffering=0) as file:
        done = 0
        while done < len(view):
            done += file.readinto(view[done : done + (8 << 20)])
    return buffer


def status_bytes(name: str) -> int:
    """Return the memory of this process in bytes: `VmRSS` or `VmHWM` (peak). getrusage includes the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _record(case: str, dtype: str, rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    best = {what: min((one[what] for one in rounds), key=lambda run: run["seconds"]) for what in ("read", "load")}
    read, load = best["read"], best["load"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": cpu_name(),
        "case": case,
        "dtype": dtype,
        "gb_in_files": round(read["bytes"] / 1e9, 3),
        "gb_in_dtype": round(load["bytes"] / 1e9, 3),
        "seconds_read": round(read["seconds"], 2),
        "seconds_load": round(load["seconds"], 2),
        "ratio_seconds": round(load["seconds"] / read["seconds"], 2),
        "cpu_seconds_read": round(read["cpu_seconds"], 2),
        "cpu_seconds_load": round(load["cpu_seconds"], 2),
        "peak_gb": round(load["peak_bytes"] / 1e9, 3),
        "peak_gb_in_all": round(load["peak_bytes_in_all"] / 1e9, 3),
        "ratio_peak": round(load["peak_bytes"] / load["bytes"], 3),
        "rounds": [[round(one[what]["seconds"], 2) for what in ("read", "load")] for one in rounds],
    }


def _print(record: dict[str, Any]) -> None:
    print(
        "{case:<8} {dtype}  {gb_in_files:6.2f} GB in files, {gb_in_dtype:6.2f} GB loaded:"
        " {seconds_load:6.2f} s ({ratio_seconds:.2f} x reading the files, {seconds_read:.2f} s),"
        " peak {peak_gb:6.2f} GB ({ratio_peak:.2f} x)".format(**record),
        flush=True,
    )


if __name__ == "__main__":
    main()
