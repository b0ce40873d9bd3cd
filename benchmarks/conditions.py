"""Time a step under each condition, in this program and in diffusers where it has the condition, alternating.

    OMP_NUM_THREADS=1 python -m benchmarks.conditions --dtype fp32 --frames 8

Both have the same weights. The fastest step counts. A CPU is timed by the time of the process, so that a busy machine
counts less. Ratios are of this program to diffusers. Appends a line of JSON to `benchmarks/results/conditions.jsonl`.
"""

import argparse
import time
from functools import partial
from itertools import pairwise
from typing import Any

import diffusers
import torch

from animdiff_cli.diffusion.device import TORCH_DTYPES, cpu_name, plan_device, probe_machine
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.pipeline import Callbacks, Pipeline, sample_latents
from animdiff_cli.diffusion.speed import faster, uses_graphs
from animdiff_cli.diffusion.text import encode_prompt
from benchmarks.condition_cases import PROMPT, Case, Clip, Networks, cases, config_of
from benchmarks.records import append
from benchmarks.sizes import SIZES


def time_ours(networks: Networks, case: Case) -> float:
    """Return the seconds of the fastest step."""
    clip, parts = networks.clip, networks.parts
    config = config_of(clip, case.settings)
    moments = [clip.clock()]
    callbacks = Callbacks(on_step=lambda done, total, latents: moments.append(clip.clock()))
    graphs = uses_graphs(config, parts.unet, parts.motion.spec, clip.num_frames)
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), tuple(case.ours), graphs=graphs)
    with faster(config, parts.unet, parts.vae, parts.motion, *networks.controls, networks.sparse):
        sample_latents(pipe, config, callbacks)
    return _fastest(moments)


def time_theirs(networks: Networks, case: Case) -> float:
    """Return the seconds of the fastest step in diffusers."""
    clip = networks.clip
    moments = [clip.clock()]

    def stepped(pipe: Any, step: int, timestep: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        moments.append(clip.clock())
        return {}

    options = {"num_inference_steps": clip.steps, "height": clip.size, "width": clip.size, "output_type": "latent"}
    if "video" not in case.options:
        options["num_frames"] = clip.num_frames
    case.theirs(
        prompt=PROMPT,
        guidance_scale=clip.guidance_scale,
        generator=seeded_generator(0),
        callback_on_step_end=stepped,
        **options,
        **case.options,
    )
    return _fastest(moments)


def main() -> None:
    """Time every condition in turn, print a table and record it."""
    args = _arguments()
    plan = plan_device(probe_machine(), args.device, args.dtype)
    clip = Clip(args.frames, args.size, args.steps, args.guidance_scale, plan)
    diffusers.utils.logging.set_verbosity_error()
    networks = Networks(args.model_size, clip)
    chosen = [case for case in cases(networks) if not args.only or case.name in ("plain", *args.only)]
    ours: dict[str, list[float]] = {case.name: [] for case in chosen}
    theirs: dict[str, list[float]] = {case.name: [] for case in chosen if case.theirs}
    for _ in range(args.rounds):
        for case in chosen:
            ours[case.name].append(time_ours(networks, case))
            if case.theirs:
                theirs[case.name].append(time_theirs(networks, case))
    rows = {name: _row(ours, theirs, name) for name in ours}
    print(f"{'':<24}{'animdiff':>10}{'diffusers':>10}{'ratio':>8}   more than a plain step, animdiff and diffusers")
    for name, row in rows.items():
        print(f"{name:<24}" + "".join(f"{_cell(row[key]):>10}" for key in row))
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if plan.kind == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "clock": "wall" if plan.kind == "cuda" else "process",
        "model": args.model_size,
        "dtype": plan.dtype,
        **{key: getattr(clip, key) for key in ("num_frames", "size", "steps", "guidance_scale")},
        "conditions": rows,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    if not args.no_record:
        append("conditions", record)


def _row(ours: dict[str, list[float]], theirs: dict[str, list[float]], name: str) -> dict[str, float | None]:
    """Return seconds per step, their ratio, and how much they are above those of a plain step, as a share of it."""
    best, plain = min(ours[name]), min(ours["plain"])
    row: dict[str, float | None] = {"animdiff_s": round(best, 5), "diffusers_s": None, "ratio": None}
    row |= {"animdiff_more": round(best / plain - 1, 3), "diffusers_more": None}
    if name in theirs:
        other, other_plain = min(theirs[name]), min(theirs["plain"])
        row |= {"diffusers_s": round(other, 5), "ratio": round(best / other, 3)}
        row["diffusers_more"] = round(other / other_plain - 1, 3)
    return row


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _fastest(moments: list[float]) -> float:
    """Return the length of the fastest step, without the first, which includes what is prepared for a clip."""
    return min(end - begin for begin, end in pairwise(moments[1:]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conditions", description=__doc__)
    parser.add_argument("--model-size", choices=[name for name in SIZES if "xl" not in name], default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", *TORCH_DTYPES], default="auto")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=128, help="pixels, square")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--rounds", type=int, default=2, help="clips of each condition; the fastest step counts")
    parser.add_argument("--only", nargs="+", default=[], metavar="CONDITION", help="conditions beside `plain`")
    parser.add_argument("--no-record", action="store_true", help="append nothing to the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
