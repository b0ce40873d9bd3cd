"""Render the same clips of the pocket model exactly and with less work, and compare seconds with quality.

    python -m benchmarks.fast                         # the table of docs/guides/fast.md
    python -m benchmarks.fast --clips 2 --no-record   # a first look

Ways are rendered in turn, clip by clip. PSNR and SSIM are against the exact clip of the same seed; what a clip shows
how it moves is read by the measures of `tools.pocket`. Operations are those of a clip of SD1.5, 16 frames of 512 px.
Ctrl-C ends the run; the clips so far count. Appends a line of JSON per way to `benchmarks/results/fast.jsonl`.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from animdiff_cli import load
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.device import cpu_name
from animdiff_cli.diffusion.flops import UNetCost, decoding_flops
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.cost import planned_calls
from animdiff_cli.jobs.evaluate import measured
from animdiff_cli.metrics.full_reference import psnr, ssim
from animdiff_cli.motion import MotionSpec
from animdiff_cli.weights.model_configs import shipped_config
from benchmarks.records import append, recorded
from tools.pocket.classify import Classifier, is_constant, read, trained_classifier
from tools.pocket.command import tell
from tools.pocket.law_checks import obeys
from tools.pocket.measure import asked_for
from tools.pocket.report import markdown
from tools.pocket.world import Scene

Settings = Mapping[str, Any]
EXACT = "exact"
FRAMES, SIDE = 16, 512  # of the clip of SD1.5


def ways() -> dict[str, Settings]:
    """Return the settings of every way to render, by its name in the table."""
    fast = load_preset("fast").values  # dpm++2m, 12 steps, until 0.6
    return {
        EXACT: {},
        "ddim, 20 steps": {"scheduler": "ddim", "steps": 20},
        "10 steps": {"steps": 10},
        "8 steps": {"steps": 8},
        "deep:2": {"cache": "deep:2"},
        "deep:3": {"cache": "deep:3"},
        "preset fast": fast,
        "preset fast, deep:2": {**fast, "cache": "deep:2"},
        "preset draft": load_preset("draft").values,  # dpm++2m, 8 steps, until 0.5
    }


HEAD = ("", "CPU s", "of exact", "PSNR", "SSIM", "as prompted", "by its law", "operations of SD1.5")
#: presets for weights that the pocket model does not have: only counted
COUNTED = ("lcm-8step", "lightning-4step")


def main() -> None:
    """Render, measure, print a table and record it."""
    args = _arguments()
    if args.table:
        print(table(recorded("fast")))
        return
    torch.manual_seed(0)
    classifier, _ = trained_classifier(args.work, tell)
    wanted = {name: settings for name, settings in ways().items() if name in (EXACT, *(args.ways or ways()))}
    animator = load(model="pocket", device="cpu", seed=0)
    animator.generate("any", steps=1)
    animator.hashes.result()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    with suppress(KeyboardInterrupt):  # the clips so far count
        for number, (scene, prompt) in enumerate(asked_for(args.clips, args.seed)):
            tell(f"clip {number + 1}/{args.clips}: {prompt}")
            exact: np.ndarray | None = None
            for name, settings in wanted.items():
                frames, times = _timed(animator, prompt, args.seed + number, settings)
                exact = frames if exact is None else exact
                found[name].append(times | _quality(frames, exact, scene, classifier))
                tell(f"  {name}: {found[name][-1]}")
    whole = min(map(len, found.values()))
    found = {name: clips[:whole] for name, clips in found.items()}
    print(f"{'':<26} {'CPU s':>7} {'s':>7} {'PSNR':>6} {'SSIM':>6} {'prompt':>7} {'law':>5} {'same':>5} {'TFLOP':>6}")
    for name, clips in found.items():
        _print_and_record(_record(name, wanted[name], clips), record_it=not args.no_record)
    for name in () if args.ways else COUNTED:
        _print_and_record(_record(f"preset {name}", load_preset(name).values, []), record_it=not args.no_record)


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Format the last record of each way as Markdown; times and operations as shares of the exact way."""
    last = {record["way"]: record for record in records}
    exact = last[EXACT]
    rows = []
    for way, record in last.items():
        cells = [f"{record['sd15_tflop'] / exact['sd15_tflop']:.2f}"]
        if record.get("clips"):
            time_share = record["cpu_seconds"] / exact["cpu_seconds"]
            alike = [f"{record['psnr']:.1f}", f"{record['ssim']:.3f}"] if record["psnr"] else ["", ""]
            shares = [f"{record[key] * record['clips']:.0f}/{record['clips']}" for key in ("as_prompted", "obeys_law")]
            rows.append((way, f"{record['cpu_seconds']:.1f}", f"{time_share:.2f}", *alike, *shares, *cells))
        else:
            rows.append((way, *[""] * 6, *cells))
    return markdown(HEAD, rows)


def sd15_tflop(settings: Settings) -> float:
    """Count the operations of a clip of SD1.5 with a v3 module. Settings that are not given are the defaults."""
    given = {"steps": 25, "scheduler": "ddim", **{key: value for key, value in settings.items() if key != "loras"}}
    config = GenerateConfig(**{**given, "prompt": "any", "model": "sd15", "seed": 0, "num_frames": FRAMES})
    unet, side = shipped_config("sd15", "unet"), SIDE // 8
    spec = MotionSpec.for_unet(unet, "v3")
    calls = [call for of_step in planned_calls(config, None, num_new=FRAMES) for call in of_step]
    counted = sum(
        UNetCost(unet, spec, side, side, call.rows).call_in_windows(call.frames, call.windows, is_deep=call.is_deep)
        for call in calls
    )
    return (counted + FRAMES * decoding_flops(shipped_config("sd15", "vae"), side, side)) / 1e12


def _timed(animator: Animator, prompt: str, seed: int, settings: Settings) -> tuple[np.ndarray, dict[str, Any]]:
    began, cpu = time.perf_counter(), time.process_time()
    frames = np.asarray(animator.generate(prompt, **{**settings, "seed": seed}).frames)
    return frames, {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def _quality(frames: np.ndarray, exact: np.ndarray, scene: Scene, classifier: Classifier) -> dict[str, Any]:
    seen = read(classifier, frames[8:9])[0]
    return {
        "psnr": psnr(frames, exact),
        "ssim": ssim(frames, exact),
        "as_prompted": (seen.kind, seen.colour, seen.place) == (scene.kind, scene.colour, scene.place),
        "obeys_law": obeys(frames, scene.kind, scene.colour),
        "constant": is_constant(classifier, frames),
        "measures": measured(frames),
    }


def _record(name: str, settings: Settings, clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over the clips. PSNR and SSIM are null for the exact ones."""
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "way": name,
        "settings": dict(settings),
        "sd15_tflop": round(sd15_tflop(settings), 1),
    }
    if not clips:
        return record
    for key in ("seconds", "cpu_seconds", "psnr", "ssim", "as_prompted", "obeys_law", "constant"):
        record[key] = None if name == EXACT and key in ("psnr", "ssim") else round(mean(c[key] for c in clips), 3)
    measures = {key: [clip["measures"][key] for clip in clips] for key in clips[0]["measures"]}
    record["measures"] = {key: round(mean(values), 4) for key, values in measures.items() if None not in values}
    return record | {
        "clips": len(clips),
        "device": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _print_and_record(record: dict[str, Any], *, record_it: bool) -> None:
    cells = [record.get(key) for key in ("cpu_seconds", "seconds", "psnr", "ssim")]
    shares = [record.get(key) for key in ("as_prompted", "obeys_law", "constant")]
    shown = [f"{cell:7.2f}" if cell is not None else f"{'':>7}" for cell in cells]
    shown += [f"{share:6.0%}" if share is not None else f"{'':>6}" for share in shares]
    print(f"{record['way']:<26} {' '.join(shown)} {record['sd15_tflop']:6.0f}")
    if record_it:
        append("fast", record)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fast", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=12, help="prompts, in turn of the twelve objects")
    parser.add_argument("--ways", nargs="+", help="only these, beside the exact clip")
    parser.add_argument("--seed", type=int, default=1000, help="of prompts and noise")
    parser.add_argument("--work", type=Path, default=Path(".pocket"), help="keeps the classifier")
    parser.add_argument("--table", action="store_true", help="print the last record of each way as Markdown, and end")
    parser.add_argument("--no-record", action="store_true", help="append nothing to the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
