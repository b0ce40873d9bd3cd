"""Print one table of the records of a run of `benchmarks/gpu.sh` or `cpu.sh`: `python -m benchmarks.summary`.

Of the records in the folder of results, those of today count. Ratios are of speed, to diffusers unless a row says so.
Levels are of 255.
"""

import time
from typing import Any

from benchmarks.records import recorded

WIDTH = 64


def main() -> None:
    """Print a row for each contender of each record: seconds, ratio, peak GB; and where the time goes."""
    machines = {"{device}, torch {torch}".format(**record) for record in _of_today("generate")}
    print("\n".join(sorted(machines)))
    print(f"{'what':<{WIDTH}} {'seconds':>9} {'ratio':>6} {'GB':>7}")
    for record in _of_today("generate"):
        _clip(record)
    for record in _of_today("train"):
        steps = record["contenders"]
        for name, found in steps.items():
            what = "training {model_size} {dtype}, {frames} frames, {size} px".format(**record)
            ratio = steps["diffusers"]["seconds"] / found["seconds"]
            _row(f"{what}: {name}", found["seconds"], ratio, found["peak_bytes"] / 1e9)
    for record in _of_today("memory"):
        peak = max(record["bytes"].values()) / 1e9 if record["fits"] else 0
        _row(f"{record['how']}, {record['clip']}: {record['level']}"[:WIDTH], record["seconds"] or 0, 0, peak)
    for record in _of_today("decode"):
        what, times = "decoding {model} {dtype}, {num_frames} frames, {size} px".format(**record), record["seconds"]
        for name, seconds in times.items():
            memory = record["peak_bytes_above_weights"][name] / 1e9
            _row(f"{what}: {name}", seconds, times["diffusers"] / seconds, memory)
        print(f"  levels from plain: {record['levels_from_plain']}")
    for record in _of_today("norms"):
        times, keeps = record["milliseconds"], record["torch_keeps_channels_last"]
        what = f"norm {record['dtype']} {record['shape']}, beside torch's"
        _row(what, times["triton"] / 1000, _of(times, "torch", "triton"))
        if not keeps:
            print("  torch's loses channels-last, so that a conversion comes on top of its time")
    for record in _of_today("conditions"):
        for name, row in record["conditions"].items():
            ratio = 1 / row["ratio"] if row["ratio"] else 0
            _row(f"step of {record['model']} {record['dtype']} with {name}", row["animdiff_s"], ratio)


def _clip(record: dict[str, Any]) -> None:
    """Print what one run of `benchmarks.generate` found."""
    what = "{model} {dtype}, {num_frames} frames, {size} px".format(**record)
    if "NVIDIA" not in record["device"]:
        what += f", {record['threads']} thread(s)" + (", AVX2" if record.get("instructions") == "AVX2" else "")
    whole, decode, first = (record[key] for key in ("seconds_end_to_end", "seconds_decode", "first_clip_seconds"))
    for name, seconds in record["seconds_per_step"].items():
        _row(f"{what}: {name}", seconds, record["ratios_per_step"].get(name, 0), record["peak_gb_above_resident"][name])
        _row(f"  {record['steps']} steps and decoding", whole[name], _of(whole, "diffusers", name))
        _row("  decoding", decode[name], _of(decode, "diffusers", name))
        _row("  first clip of the process, of two steps", first[name])
    for key in ("levels_from_plain", "levels_from_fp32"):
        for name, levels in record.get(key, {}).items():
            print(f"  {key.replace('_', ' ')} of {name}: {levels['max']:.0f} at most, {levels['mean']} on average")
    profiles = record.get("profiles", {})
    for part in ("step", "decoding") if profiles else ():
        print(f"  milliseconds of a {part}: {', '.join(profiles)}" if part == "step" else "  milliseconds of decoding")
        for group in dict.fromkeys(group for parts in profiles.values() for group in parts[part]):
            cells = (f"{1000 * parts[part].get(group, 0):10.2f}" for parts in profiles.values())
            print(f"    {group:<{WIDTH - 4}}{''.join(cells)}")


def _row(what: str, seconds: float, ratio: float = 0, memory: float = 0) -> None:
    """Print a row; zeros are unknown."""
    cells = ((seconds, 9, 4), (ratio, 6, 2), (memory, 7, 2))
    shown = (f"{value:{width}.{digits}f}" if value else " " * width for value, width, digits in cells)
    print(f"{what:<{WIDTH}} {' '.join(shown)}".rstrip())


def _of(times: dict[str, float], other: str, name: str) -> float:
    """Return how many times as fast as `other` this is; 0 if it was not measured."""
    return times.get(other, 0) / times[name]


def _of_today(name: str) -> list[dict[str, Any]]:
    return [record for record in recorded(name) if record.get("date") == time.strftime("%Y-%m-%d")]


if __name__ == "__main__":
    main()
