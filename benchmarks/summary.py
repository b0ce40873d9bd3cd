"""Print one table of today's records of this machine: `python -m benchmarks.summary`."""

import time
from typing import Any

from benchmarks.records import recorded


def main() -> None:
    """Print a row for each contender of each record, with its speed relative to diffusers."""
    print(f"{'what':<44} {'seconds':>9} {'ratio':>6} {'GB':>7}")
    for record in _of_today("generate"):
        what = "{model} {dtype}, {num_frames} frames, {size} px".format(**record)
        what += "" if "NVIDIA" in record["device"] else f", {record['threads']} thread(s)"
        for name, seconds in record["seconds_per_step"].items():
            ratio, memory = record["ratios_per_step"].get(name, 0), record["peak_gb_above_resident"][name]
            print(f"{f'{what}: {name}':<44} {seconds:9.4f} {ratio:6.2f} {memory:7.2f}")
            decode, theirs = record["seconds_decode"][name], record["seconds_decode"].get("diffusers", 0)
            print(f"{'  decoding':<44} {decode:9.4f} {theirs / decode:6.2f}")
    for record in _of_today("train"):
        steps = record["contenders"]
        for name, found in steps.items():
            what = f"training {record['model_size']}, {record['size']} px: {name}"
            ratio = steps["diffusers"]["seconds"] / found["seconds"]
            print(f"{what:<44} {found['seconds']:9.4f} {ratio:6.2f} {found['peak_bytes'] / 1e9:7.2f}")
    for record in _of_today("decode"):
        what, times = "decoding {model} {dtype}, {num_frames} frames, {size} px".format(**record), record["seconds"]
        for name, seconds in times.items():
            memory = record["peak_bytes_above_weights"][name] / 1e9
            print(f"{f'{what}: {name}':<44} {seconds:9.4f} {times['diffusers'] / seconds:6.2f} {memory:7.2f}")
    for record in _of_today("deep_call"):
        times = record["seconds"]
        for name, seconds in times.items():
            what = f"--cache, {record['model']}, {record['size']} px: {name}"
            print(f"{what:<44} {seconds:9.4f} {times['whole'] / seconds:6.2f}")
    for record in _of_today("norms"):
        times = record["milliseconds"]
        what = f"norm {record['dtype']} {record['shape']}"
        print(f"{what:<44} {times['triton'] / 1000:9.6f} {times['torch'] / times['triton']:6.2f}")


def _of_today(name: str) -> list[dict[str, Any]]:
    return [record for record in recorded(name) if record.get("date") == time.strftime("%Y-%m-%d")]


if __name__ == "__main__":
    main()
