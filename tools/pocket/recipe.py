"""The training recipe in order: clips, autoencoder, decoder, image model, motion module."""

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
from tools.pocket.workspace import SEED, Workspace

#: Fraction of the total time of each step. The rest is for encoding, loading and saving.
SHARES = {"data": 0.07, "vae": 0.13, "decoder": 0.05, "image": 0.42, "motion": 0.29}

#: Parts that `--stage NAME` trains, with their fraction of its minutes.
COMMANDS = {
    "vae": {"data": 0.1, "vae": 0.63, "decoder": 0.27},
    "image": {"image": 1.0},
    "motion": {"motion": 1.0},
    "all": SHARES,
}

#: Files derived from the weights of a part, outdated when it trains further.
DERIVED = {"vae": ("vae_normalised.pt", "clips.pt")}

#: Timesteps of the motion stage: most clips are so noisy that their motion is still undecided.
NOISY_SHARE = 0.75
MAX_WEIGHT = 50.0

LOG_HEADER = "stage,step,elapsed_s,learning_rate,loss"


def run_recipe(workspace: Workspace, command: str, minutes: float, stop_at: float = float("inf")) -> bool:
    """Run every unfinished part of `command`; return True if all are finished.

    `stop_at` is in the time of `time.monotonic`; the next run of the same command continues from there.
    """
    workspace.folder.mkdir(parents=True, exist_ok=True)
    for part, share in COMMANDS[command].items():
        budget = Budget(share * minutes * 60, stop_at)
        finished = _render(workspace, budget) if part == "data" else _train_part(workspace, part, budget)
        if not finished:
            return False
    return True


def _train_part(workspace: Workspace, part: str, budget: Budget) -> bool:
    file = workspace.file(part)
    if file.exists() and workspace.trained(part).elapsed_s >= budget.seconds:
        return True
    if time.monotonic() >= budget.stop_at:
        return False
    for derived in DERIVED.get(part, ()):
        (workspace.folder / derived).unlink(missing_ok=True)
    started = time.monotonic()
    stage = STAGES[part](workspace)
    _say(f"{part}: ready after {time.monotonic() - started:.1f} s")
    trained = _train(workspace, stage, budget, file)
    _say(f"{part}: {trained.step} steps in {trained.elapsed_s:.0f} s, loss {trained.loss:.4f}")
    return trained.complete


def _train(workspace: Workspace, stage: Stage, budget: Budget, file: Path) -> Trained:
    log_file = workspace.folder / "log.csv"
    if not log_file.exists():
        log_file.write_text(LOG_HEADER + "\n")

    def report(name: str, step: int, elapsed_s: float, lr: float, loss: float) -> None:
        with log_file.open("a") as log:
            log.write(f"{name},{step},{elapsed_s:.1f},{lr:.3g},{loss:.5f}\n")
        _say(f"{name}: step {step}, {elapsed_s:.0f} of {budget.seconds:.0f} s, loss {loss:.4f}")

    return train(stage, budget, file, report)


def _render(workspace: Workspace, budget: Budget) -> bool:
    marker = workspace.folder / "data" / "complete"
    if marker.exists():
        return True
    seconds = min(budget.seconds, budget.stop_at - budget.clock())
    chunks = render_clips(workspace.folder / "data", num_clips=workspace.scale.clips, seconds=seconds)
    marker.touch()  # later runs train on the same clips, even if they had time for more
    _say(f"data: {sum(len(chunk.captions()) for chunk in chunks)} clips")
    return True


def _vae_stage(workspace: Workspace) -> AutoencoderStage:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        vae = workspace.to_train(build_vae(workspace.architecture))
    scale = workspace.scale
    return AutoencoderStage(
        vae, workspace.frames(), workspace.generator(), scale.vae_batch, scale.crop, peak_lr=scale.vae_lr
    )


def _decoder_stage(workspace: Workspace) -> DecoderStage:
    vae, scale = workspace.to_train(workspace.normalised_vae()), workspace.scale
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    return DecoderStage(
        vae, workspace.frames(), workspace.generator(), scale.vae_batch, scale.crop, peak_lr=scale.vae_lr / 2
    )


def _image_stage(workspace: Workspace) -> ImageStage:
    clips, (unet, text_encoder) = workspace.clips(), workspace.fresh_image_model()
    workspace.compile(unet)
    schedule = alphas_cumprod(STILL_BETAS, workspace.device)
    scale = workspace.scale
    return ImageStage(
        unet, text_encoder, clips, schedule, workspace.generator(), scale.image_batch, peak_lr=scale.image_lr
    )


def _motion_stage(workspace: Workspace) -> MotionStage:
    unet, text_encoder = (workspace.to_train(module) for module in workspace.image_model())
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        motion = MotionModule.from_unet(unet, version="v3")
    motion = plug(unet, motion)
    workspace.compile(unet)
    schedule = alphas_cumprod(CLIP_BETAS, workspace.device)
    scale = workspace.scale
    return MotionStage(
        unet,
        motion,
        text_encoder,
        workspace.clips(),
        schedule,
        workspace.generator(),
        scale.motion_batch,
        peak_lr=scale.motion_lr,
        noisy_share=NOISY_SHARE,
        max_weight=MAX_WEIGHT,
    )


STAGES: dict[str, Callable[[Workspace], Stage]] = {
    "vae": _vae_stage,
    "decoder": _decoder_stage,
    "image": _image_stage,
    "motion": _motion_stage,
}


def trained_motion(workspace: Workspace) -> MotionModule:
    """Return the motion module of stage 4, in float32 on the CPU."""
    unet, _ = workspace.image_model()
    motion = MotionModule.from_unet(unet, version="v3")
    load_weights(motion, "motion", workspace.trained("motion").weights)
    return motion


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
