"""Benchmark commands from shell to exit: a clip of the pocket model by phase, and commands that render nothing.

    python -m benchmarks.start                        # at the defaults: about two minutes on two idle cores
    python -m benchmarks.start --threads 1 --steps 4 --rounds 1

Runs `animdiff generate` with the pocket model, a script that renders the same clip with diffusers, `--help`,
`inspect` of a weight file and a finished `batch`, each in a process of its own, in turns. Prints wall seconds and CPU
seconds, of child processes too (ffmpeg), each the least of the rounds, and the phases of both renders. Appends a line
of JSON to `benchmarks/results/start.jsonl`. Phases are those of the round with the least CPU time. Files are in the
page cache, and bytecode of this program is written before, as when it is installed.
"""

import argparse
import atexit
import compileall
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records import append

PROMPT = "a red rocket in the night sky"
BATCH = "jobs: [{{model: pocket, prompt: {}, seed: 1, steps: 1, num_frames: 2}}]\n"


def main() -> None:
    """Run every command in turns, print and record the results."""
    args = _arguments()
    if args.inside:
        {"animdiff": _animdiff, "diffusers": _diffusers}[args.inside](args.words)
        return
    for package in ("animdiff_cli", "benchmarks"):  # as pip does when it installs a package
        compileall.compile_dir(Path(__file__).parents[1] / package, quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder), args.steps)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, words in commands.items():
                runs[name].append(_run(words, args.threads))
    record = _record(runs, args)
    _print(record)
    if not args.no_record:
        append("start", record)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="the least of the rounds counts")
    parser.add_argument("--steps", type=int, help="denoising steps; default: those that the pocket model recommends")
    parser.add_argument("--threads", type=int, help="CPU threads; default: one for each physical core")
    parser.add_argument("--no-record", action="store_true", help="do not append to the results")
    parser.add_argument("--inside", choices=("animdiff", "diffusers"), help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _commands(folder: Path, steps: int | None) -> dict[str, list[str]]:
    """Return the commands, and make what they need: a motion adapter for diffusers, a weight file, a finished batch."""
    from animdiff_cli.paths import pocket_dir

    animdiff, inside = ["-m", "animdiff_cli"], ["-m", "benchmarks.start", "--inside"]
    module = pocket_dir() / "motion_module.safetensors"
    adapter, unknown, batch = folder / "adapter", folder / "unknown.safetensors", folder / "one.yaml"
    raw = bytearray(module.read_bytes())
    raw[-1] ^= 1  # another hash than that of the catalog
    unknown.write_bytes(raw)
    batch.write_text(BATCH.format(PROMPT))
    finished = [*animdiff, "batch", str(batch), "-o", str(folder / "batch"), "-q"]
    for words in ([*animdiff, "convert", str(module), "--to", "diffusers", "-o", str(adapter), "-q"], finished):
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
    number = str(steps or _recommended_steps())
    render = [
        "generate",
        "--model",
        "pocket",
        "--prompt",
        PROMPT,
        "--seed",
        "1",
        "--steps",
        number,
        "--overwrite",
        "-q",
    ]
    return {
        "generate": [*inside, "animdiff", "--", *render, "-q", "-o", str(folder / "clip.gif")],
        "diffusers": [*inside, "diffusers", "--", str(pocket_dir()), str(adapter), number, str(folder / "theirs.gif")],
        "--help": [*animdiff, "--help"],
        "inspect": [*animdiff, "inspect", str(unknown)],
        "finished batch": finished,
    }


def _recommended_steps() -> int:
    from animdiff_cli.registry.catalog import load_catalog

    return int(str(load_catalog().find("pocket").recommended["steps"]))


def _run(words: Sequence[str], threads: int | None) -> dict[str, Any]:
    """Run a command. Returns wall seconds, CPU seconds with those of child processes, and the phases that it prints."""
    environ = {**os.environ, **({"ANIMDIFF_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)} if threads else {})}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, env=environ)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = [line for line in done.stderr.splitlines() if line.startswith('{"phases"')]
    return {"seconds": seconds, "cpu_seconds": cpu, **(json.loads(lines[-1]) if lines else {})}


class _Phases:
    """The CPU seconds at the end of each phase of this process, printed at its exit."""

    def __init__(self) -> None:
        self.ends: dict[str, float] = {}
        self.end("python")
        atexit.register(self.print)

    def end(self, name: str) -> None:
        """Note the end of a phase, the last one of this name."""
        self.ends[name] = time.process_time()

    def after(self, owner: Any, name: str, phase: str) -> None:
        """Let a phase end when a function returns."""
        wrapped: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = wrapped(*args, **kwargs)
            self.end(phase)
            return result

        setattr(owner, name, call)

    def print(self) -> None:
        """Print the CPU seconds of each phase, with those of ffmpeg at the end."""
        self.end("exit")
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        names, ends = list(self.ends), list(self.ends.values())
        phases = {name: end - start for name, start, end in zip(names, [0.0, *ends], ends, strict=False)}
        print(json.dumps({"phases": {**phases, "ffmpeg": children.ru_utime + children.ru_stime}}), file=sys.stderr)


def _animdiff(words: list[str]) -> None:
    """Run the command line, and note where its phases end."""
    phases = _Phases()
    from animdiff_cli.cli import generate, main

    phases.end("command line")
    import_networks = generate.import_networks

    def imported() -> None:
        import torch  # noqa: F401

        phases.end("settings, torch")
        import_networks()
        phases.end("diffusers, transformers")

    def planned(*args: Any, **kwargs: Any) -> Any:
        plan = make_plan(*args, **kwargs)
        phases.end("plan")
        from animdiff_cli.diffusion import pipeline
        from animdiff_cli.jobs import render

        phases.after(render, "load_planned", "weights")
        phases.after(pipeline, "text_conditions", "text")
        phases.after(pipeline, "sample_latents", "steps")
        phases.after(render, "write_file", "file")
        phases.after(render.Animator, "render", "decoding")
        return plan

    make_plan = generate._plan
    generate.import_networks, generate._plan = imported, planned
    sys.argv[1:] = words
    main()


def _diffusers(words: list[str]) -> None:
    """Render the same clip as the documentation of diffusers shows it."""
    folder, adapter, steps, path = words
    phases = _Phases()
    import torch
    from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter
    from diffusers.utils import export_to_gif

    phases.end("imports")
    kind: Any = AnimateDiffPipeline
    dtype = torch.bfloat16
    motion = MotionAdapter.from_pretrained(adapter, torch_dtype=dtype)
    pipe = kind.from_pretrained(folder, motion_adapter=motion, torch_dtype=dtype)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, beta_schedule="linear", clip_sample=False)
    phases.end("weights")
    generator = torch.Generator("cpu").manual_seed(1)
    frames = pipe(
        PROMPT,
        num_frames=16,
        width=128,
        height=128,
        num_inference_steps=int(steps),
        guidance_scale=5.0,
        generator=generator,
    ).frames[0]
    phases.end("text, steps, decoding")
    export_to_gif(frames, path, fps=8)
    phases.end("file")


def _record(runs: Mapping[str, list[dict[str, Any]]], args: argparse.Namespace) -> dict[str, Any]:
    from animdiff_cli.diffusion.device import cpu_name
    from animdiff_cli.files.cpu_cores import usable_cores

    least = {
        name: {key: round(min(run[key] for run in of_one), 3) for key in ("seconds", "cpu_seconds")}
        for name, of_one in runs.items()
    }
    best = {name: min(of_one, key=lambda run: run["cpu_seconds"]).get("phases") for name, of_one in runs.items()}
    phases = {name: {key: round(one, 3) for key, one in found.items()} for name, found in best.items() if found}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": cpu_name(),
        "threads": args.threads or usable_cores().number,
        "steps": args.steps or _recommended_steps(),
        "rounds": args.rounds,
        "commands": least,
        "phases": phases,
        "ratio_to_diffusers": {
            key: round(least["generate"][key] / least["diffusers"][key], 3) for key in ("seconds", "cpu_seconds")
        },
    }


def _print(record: Mapping[str, Any]) -> None:
    print(f"{record['device']}, {record['threads']} threads, {record['steps']} steps")
    print(f"{'':<16} {'wall s':>8} {'CPU s':>8}")
    for name, row in record["commands"].items():
        print(f"{name:<16} {row['seconds']:>8.2f} {row['cpu_seconds']:>8.2f}")
    ratios = record["ratio_to_diffusers"]
    print(f"{'generate : diffusers':<16} {ratios['seconds']:>4.2f} {ratios['cpu_seconds']:>8.2f}")
    for name, phases in record["phases"].items():
        print(f"\nCPU seconds of {name}")
        for phase, seconds in phases.items():
            print(f"  {phase:<24} {seconds:>6.2f}")


if __name__ == "__main__":
    main()
