"""The whole recipe in order: clips, autoencoder, decoder, image model, motion module."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from animdiff_cli.motion import MotionModule, plug
from animdiff_cli.training.objective import CLIP_BETAS, STILL_BETAS, alphas_cumprod
from tools.pocket.architecture import build_vae
from tools.pocket.data import render_clips
from tools.pocket.loop import Budget, Stage, Trained, train
from tools.pocket.optimiser import load_weights
from tools.pocket.stages.image import ImageStage
from tools.pocket.stages.motion import MotionStage
from tools.pocket.stages.vae import AutoencoderStage, DecoderStage
from tools.pocket.workshop import SEED, Workshop

#: Each step's share of the whole recipe's time. What is left over pays for encoding, loading and saving.
SHARES = {"data": 0.07, "vae": 0.13, "decoder": 0.05, "image": 0.42, "motion": 0.29}

#: What `--stage NAME` trains, with each part's share of its minutes.
COMMANDS = {
    "vae": {"data": 0.1, "vae": 0.63, "decoder": 0.27},
    "image": {"image": 1.0},
    "motion": {"motion": 1.0},
    "all": SHARES,
}

#: Files made from a part's weights, out of date once it trains on.
DERIVED = {"vae": ("vae_normalised.pt", "clips.pt")}

#: Where the motion stage looks: most of its clips are so noisy that their motion is still open.
NOISY_SHARE = 0.75
MAX_WEIGHT = 50.0

LOG_HEADER = "stage,step,elapsed_s,learning_rate,loss"


def run_recipe(workshop: Workshop, command: str, minutes: float, stop_at: float = float("inf")) -> bool:
    """Run every part of `command` that is not finished yet; return whether all are.

    `stop_at` is on `time.monotonic`: what is left then waits for the next run of the same command.
    """
    workshop.folder.mkdir(parents=True, exist_ok=True)
    for part, share in COMMANDS[command].items():
        budget = Budget(share * minutes * 60, stop_at)
        finished = _render(workshop, budget) if part == "data" else _train_part(workshop, part, budget)
        if not finished:
            return False
    return True


def _train_part(workshop: Workshop, part: str, budget: Budget) -> bool:
    file = workshop.file(part)
    if file.exists() and workshop.trained(part).elapsed_s >= budget.seconds:
        return True
    if time.monotonic() >= budget.stop_at:
        return False
    for derived in DERIVED.get(part, ()):
        (workshop.folder / derived).unlink(missing_ok=True)
    started = time.monotonic()
    stage = STAGES[part](workshop)
    _say(f"{part}: ready after {time.monotonic() - started:.1f} s")
    trained = _train(workshop, stage, budget, file)
    _say(f"{part}: {trained.step} steps in {trained.elapsed_s:.0f} s, loss {trained.loss:.4f}")
    return trained.complete


def _train(workshop: Workshop, stage: Stage, budget: Budget, file: Path) -> Trained:
    log_file = workshop.folder / "log.csv"
    if not log_file.exists():
        log_file.write_text(LOG_HEADER + "\n")

    def report(name: str, step: int, elapsed_s: float, lr: float, loss: float) -> None:
        with log_file.open("a") as log:
            log.write(f"{name},{step},{elapsed_s:.1f},{lr:.3g},{loss:.5f}\n")
        _say(f"{name}: step {step}, {elapsed_s:.0f} of {budget.seconds:.0f} s, loss {loss:.4f}")

    return train(stage, budget, file, report)


def _render(workshop: Workshop, budget: Budget) -> bool:
    marker = workshop.folder / "data" / "complete"
    if marker.exists():
        return True
    seconds = min(budget.seconds, budget.stop_at - budget.clock())
    chunks = render_clips(workshop.folder / "data", num_clips=workshop.scale.clips, seconds=seconds)
    marker.touch()  # later runs train on the same clips even when they have time for more
    _say(f"data: {sum(len(chunk.captions()) for chunk in chunks)} clips")
    return True


def _vae_stage(workshop: Workshop) -> AutoencoderStage:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        vae = workshop.to_train(build_vae(workshop.architecture))
    scale = workshop.scale
    return AutoencoderStage(
        vae, workshop.frames(), workshop.generator(), scale.vae_batch, scale.crop, peak_lr=scale.vae_lr
    )


def _decoder_stage(workshop: Workshop) -> DecoderStage:
    vae, scale = workshop.to_train(workshop.normalised_vae()), workshop.scale
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    return DecoderStage(
        vae, workshop.frames(), workshop.generator(), scale.vae_batch, scale.crop, peak_lr=scale.vae_lr / 2
    )


def _image_stage(workshop: Workshop) -> ImageStage:
    clips, (unet, text_encoder) = workshop.clips(), workshop.fresh_image_model()
    workshop.compile(unet)
    schedule = alphas_cumprod(STILL_BETAS, workshop.device)
    scale = workshop.scale
    return ImageStage(
        unet, text_encoder, clips, schedule, workshop.generator(), scale.image_batch, peak_lr=scale.image_lr
    )


def _motion_stage(workshop: Workshop) -> MotionStage:
    unet, text_encoder = (workshop.to_train(module) for module in workshop.image_model())
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        motion = MotionModule.from_unet(unet, version="v3")
    plug(unet, motion)
    workshop.compile(unet)
    schedule = alphas_cumprod(CLIP_BETAS, workshop.device)
    scale = workshop.scale
    return MotionStage(
        unet,
        motion,
        text_encoder,
        workshop.clips(),
        schedule,
        workshop.generator(),
        scale.motion_batch,
        peak_lr=scale.motion_lr,
        noisy_share=NOISY_SHARE,
        max_weight=MAX_WEIGHT,
    )


STAGES: dict[str, Callable[[Workshop], Stage]] = {
    "vae": _vae_stage,
    "decoder": _decoder_stage,
    "image": _image_stage,
    "motion": _motion_stage,
}


def trained_motion(workshop: Workshop) -> MotionModule:
    """Return the motion module of stage 4, in float32 on the CPU."""
    unet, _ = workshop.image_model()
    motion = MotionModule.from_unet(unet, version="v3")
    load_weights(motion, "motion", workshop.trained("motion").weights)
    return motion


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
