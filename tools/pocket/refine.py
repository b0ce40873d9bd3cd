"""`python -m tools.pocket refine`: train the bundled motion module on, from the bundle alone.

The states that training leaves behind are large and stay where they were made. This goes on from the shipped weights,
on the part of the schedule where motion is decided.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from animdiff_cli.diffusion.build import Components, load_components
from animdiff_cli.diffusion.device import plan_device, probe_machine
from animdiff_cli.motion import MotionModule, load_motion_module, plug
from animdiff_cli.motion.load import save_motion_module
from tools.pocket.architecture import build_scheduler
from tools.pocket.card import model_card
from tools.pocket.data import render_clips
from tools.pocket.latents import prepare_clips
from tools.pocket.loop import Budget, Trained, train
from tools.pocket.optimiser import load_weights
from tools.pocket.save import MADE_BY, MOTION_FILE, facts, read_recipe
from tools.pocket.stages.motion import MotionStage
from tools.pocket.stages.noise import alpha_bars

FIRST_TIMESTEP = 200
MAX_WEIGHT = 10.0


def main(argv: Sequence[str]) -> int:
    """Refine and write the module; returns the exit status. The same command continues a run that was cut short."""
    arguments = _parser().parse_args(argv)
    parts = _frozen_parts(arguments.bundle, arguments.device)
    motion = load_motion_module(arguments.bundle / MOTION_FILE).to(torch.float32)
    trained = _train(parts, motion, arguments)
    load_weights(motion.float(), "motion", trained.weights)  # plugged in, it took the UNet's dtype
    out = arguments.out / MOTION_FILE
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = _metadata(arguments.bundle / MOTION_FILE, trained, arguments.clips)
    save_motion_module(motion.half(), out, metadata)
    for other in () if arguments.out == arguments.bundle else arguments.bundle.iterdir():
        if other.is_dir():
            shutil.copytree(other, arguments.out / other.name, dirs_exist_ok=True)
        elif other.name != MOTION_FILE:
            shutil.copy(other, arguments.out)
    recipes = {file: read_recipe(arguments.out / file) for file in MADE_BY}
    (arguments.out / "README.md").write_text(model_card(recipes))
    print(out)
    return 0


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket refine", description=__doc__)
    flags.add_argument("--bundle", type=Path, default=Path("animdiff_cli/pocket"))
    flags.add_argument("--out", type=Path, required=True, help="a folder for the whole bundle, its motion refined")
    flags.add_argument("--minutes", type=float, default=30.0)
    flags.add_argument("--clips", type=int, default=1200, help="clips to render and learn from")
    flags.add_argument("--batch", type=int, default=2, help="clips per step")
    flags.add_argument("--learning-rate", type=float, default=2e-4)
    flags.add_argument("--device", default="auto")
    flags.add_argument("--work", type=Path, default=Path(".pocket/refine"))
    return flags


def _frozen_parts(bundle: Path, device: str) -> Components:
    parts = load_components(bundle, plan_device(probe_machine(), device))
    # oneDNN (torch 2.13, CPU) crashes in the backward pass of frozen channels-last convolutions
    parts.unet.to(memory_format=torch.contiguous_format)
    return parts


def _train(parts: Components, motion: MotionModule, arguments: argparse.Namespace) -> Trained:
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    chunks = render_clips(work / "data", num_clips=arguments.clips, seconds=float("inf"))
    clips = prepare_clips(chunks, parts.vae, parts.tokenizer, work / "clips.pt").to(parts.plan.device)
    plug(parts.unet, motion)
    stage = MotionStage(
        parts.unet,
        motion.train(),
        parts.text_encoder,
        clips,
        alpha_bars(build_scheduler(motion=True), parts.plan.device),
        torch.Generator(parts.plan.device).manual_seed(arguments.clips),
        arguments.batch,
        peak_lr=arguments.learning_rate,
        first_timestep=FIRST_TIMESTEP,
        max_weight=MAX_WEIGHT,
    )
    return train(stage, Budget(arguments.minutes * 60), work / "motion.pt", _report)


def _metadata(bundled: Path, trained: Trained, clips: int) -> dict[str, str]:
    """Append this training to the record the module carries."""
    with safe_open(bundled, framework="pt") as opened:
        record = json.loads(opened.metadata()["recipe"])
    refined = facts(trained) | {"stage": "motion, refined", "clips": clips, "first_timestep": FIRST_TIMESTEP}
    record["stages"].append(refined | {"max_weight": MAX_WEIGHT})
    return {"recipe": json.dumps(record)}


def _report(stage: str, step: int, elapsed_s: float, learning_rate: float, loss: float) -> None:
    print(
        f"{stage}: step {step}, {elapsed_s:.0f} s, lr {learning_rate:.2g}, loss {loss:.4f}", file=sys.stderr, flush=True
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
