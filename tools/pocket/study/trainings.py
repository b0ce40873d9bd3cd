"""Footage and trainings as jobs: commands of the program, or of `python -m tools.pocket`."""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import yaml

from tools.pocket.study.conditions import camera_job, look_job, style_job
from tools.pocket.study.jobs import Job
from tools.pocket.study.settings import (
    CAMERA_RANK,
    CHECKPOINTS,
    FEW_STILLS,
    FOOTAGE_SEED,
    LORAS,
    MANY_STILLS,
    RANKS,
    REFINE_ON,
    SHOT_STILLS,
    SHOTS,
    TRAIN_ON,
    TRAINING_SEED,
    VARIED_SHOT,
    Flags,
    Scale,
)

#: estimated seconds of long jobs, for scheduling only
COSTS: Mapping[str, float] = MappingProxyType(
    {
        "clips": 90,
        "marked-clips": 30,
        "classifier": 120,
        "style-reader": 120,
        "encoder": 250,
        "motion-linear": 400,
        "motion-scaled": 400,
        "temporal-convolution": 400,
        "motion-with-adapter": 120,
        "motion-without-adapter": 120,
        "adapter": 60,
        **{style_job(style): 120 for style in (*CHECKPOINTS, *LORAS)},
        **{look_job(style): 60 for style in CHECKPOINTS},
        "render": 40,
        "read": 15,
    }
)
CAMERA_COST = 80

#: results are folders with a complete model
CHECKPOINT_JOBS = frozenset(job(style) for job in (look_job, style_job) for style in CHECKPOINTS)


@dataclass(frozen=True)
class Study:
    """A study: its settings, folder and device."""

    work: Path
    scale: Scale
    scale_name: str
    device: str  # as `animdiff generate --device`
    device_kind: str
    workers: int  # number of processes that draw footage
    pool: ProcessPoolExecutor | None = None  # for renders and measurements; None if no job is run

    def run_folder(self, name: str) -> Path:
        """Return the folder of a training."""
        return self.work / "runs" / name

    def result(self, name: str) -> Path:
        """Return the result file of a training."""
        folder = self.run_folder(name)
        return folder / ("model_index.json" if name in CHECKPOINT_JOBS else f"{name}.safetensors")

    def footage(self, name: str) -> Path:
        """Return a folder of footage."""
        return self.work / "footage" / name


def footage_jobs(study: Study) -> Iterator[Job]:
    """List the jobs that draw footage."""
    scale = study.scale
    yield _draw(study, "clips", "clips", scale.clips)
    yield _draw(study, "marked-clips", "clips", scale.marked_clips, "--watermark")
    yield _draw(study, "wide", "stills", scale.wide_stills, "--wide")
    for style in LORAS:
        yield _draw(study, f"stills-of-{style}", "stills", scale.style_stills, "--style", style)


def _draw(study: Study, name: str, what: str, count: int, *flags: str) -> Job:
    folder = study.footage(name)
    words = ("--out", str(folder), "--what", what, "--count", str(count), "--seed", str(FOOTAGE_SEED), *flags)
    return _command(name, "data", folder, (*_tool("footage"), *words), runs_on=("--workers", str(study.workers)))


def training_jobs(study: Study) -> Iterator[Job]:
    """List the trainings; dependencies come first."""
    scale = study.scale
    module = ("train-motion", "--model", "pocket", "--resume-from", "pocket-motion", "--videos")
    yield _from_zero(study, "motion-linear", _animdiff("train-motion"), "linear")
    yield _from_zero(study, "motion-scaled", _animdiff("train-motion"), "scaled_linear")
    yield _from_zero(study, "temporal-convolution", _tool("temporal-conv"), "linear")
    yield _train(study, "adapter", "marked-clips", ("train-adapter", "--model", "pocket", "--videos"), scale.adapter)
    plugged = ("--domain-adapter", str(study.result("adapter")))
    yield _train(
        study, "motion-with-adapter", "marked-clips", module, (*scale.marked_motion, *plugged), needs=("adapter",)
    )
    yield _train(study, "motion-without-adapter", "marked-clips", module, scale.marked_motion)
    for style in CHECKPOINTS:
        yield from _checkpoint(study, style)
    for style in LORAS:
        on_stills = ("train-adapter", "--as-lora", "--model", "pocket", "--videos")
        yield _train(study, style_job(style), f"stills-of-{style}", on_stills, scale.style_lora)
    for shot in SHOTS:
        yield _camera(study, shot)
    for rank in RANKS:
        yield _camera(study, VARIED_SHOT, rank=rank)
    for stills in (FEW_STILLS, MANY_STILLS):
        yield _camera(study, VARIED_SHOT, stills=stills)
    yield _encoder(study)


def _from_zero(study: Study, name: str, command: tuple[str, ...], beta_schedule: str) -> Job:
    """Train from scratch on clips without watermark, with the settings file that all three share."""
    words = ("--config", str(motion_settings(study)), "--set", f"beta_schedule={beta_schedule}")
    # include the settings of the file, which determine the result like flags do
    shared = ("#", "motion.yaml:", *(f"{key}={value}" for key, value in study.scale.motion.items()))
    every = (*command, *words, *_on(TRAIN_ON, study), "-o", str(study.run_folder(name)), "-q")
    job = _command(name, "train", study.result(name), every, ("clips",), runs_on=("--device", study.device))
    return replace(job, words=(*job.words, *shared))


def motion_settings(study: Study) -> Path:
    """Return the settings file of trainings from scratch; `write_settings` writes it."""
    return study.work / "motion.yaml"


def write_settings(study: Study) -> None:
    """Write the settings file of the trainings from scratch."""
    settings = {
        "stage": "motion-module",
        "model": "pocket",
        "motion_version": "v3",
        "seed": TRAINING_SEED,
        "data.videos": str(study.footage("clips")),
        "data.stride": 1,
        "data.size": 128,
        **study.scale.motion,
    }
    study.work.mkdir(parents=True, exist_ok=True)
    unfinished = motion_settings(study).with_suffix(".part")
    unfinished.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    unfinished.replace(motion_settings(study))


def _camera(study: Study, shot: str, *, rank: int | None = None, stills: int | None = None) -> Job:
    name = camera_job(shot, rank=rank, stills=stills)
    limit = ("--limit", str(min(stills or SHOT_STILLS, study.scale.wide_stills)))
    cuts = ("--set", "variants=1") if stills == MANY_STILLS else ()  # they are many enough
    flags = (*study.scale.camera, "--shot", shot, "--rank", str(rank or CAMERA_RANK), *limit, *cuts)
    on_stills = ("train-lora", "--model", "pocket", "--videos")
    return _train(study, name, "wide", on_stills, flags)


def _train(
    study: Study,
    name: str,
    footage: str,
    command: tuple[str, ...],
    flags: Flags,
    *,
    needs: tuple[str, ...] = (),
) -> Job:
    """Train with a command of the program; `command` ends in the flag for the footage."""
    folder = study.footage(footage)
    one_frame = () if command[0] != "train-motion" else ("--stride", "1")
    words = (*_animdiff(command[0]), *command[1:], str(folder), *one_frame, *flags, "--seed", str(TRAINING_SEED))
    every = (*words, *_on(TRAIN_ON, study), "-o", str(study.run_folder(name)), "-q")
    runs_on = ("--device", study.device)
    return _command(name, "train", study.result(name), every, (footage, *needs), runs_on=runs_on)


def _checkpoint(study: Study, style: str) -> Iterator[Job]:
    """Train a full checkpoint: first its decoder, then its UNet."""
    look = study.result(look_job(style)).parent
    yield _refine(study, look_job(style), style, ("--part", "decoder", *study.scale.look))
    on_top = ("--part", "image", *study.scale.refine, "--bundle", str(look))
    yield _refine(study, style_job(style), style, on_top, needs=(look_job(style),))


def _refine(study: Study, name: str, style: str, flags: Flags, needs: tuple[str, ...] = ()) -> Job:
    """Refine a part on clips of a style, shared by all parts."""
    words = (*_tool("refine"), "--style", style, *flags, *_on(REFINE_ON, study))
    where = ("--work", str(study.work / "refine" / style), "--out", str(study.run_folder(name)))
    return _command(name, "train", study.result(name), (*words, *where), needs, runs_on=("--device", study.device))


def _encoder(study: Study) -> Job:
    """Train the CLIP encoder for the paper's metrics."""
    folder = study.run_folder("encoder")
    device = study.device_kind if study.device == "auto" else study.device
    words = (*_tool("encoder"), "--out", str(folder), *study.scale.encoder)
    return _command("encoder", "train", folder / "encoder.json", words, runs_on=("--device", device))


def _command(name: str, phase: str, result: Path, words: Flags, needs: tuple[str, ...] = (), *, runs_on: Flags) -> Job:
    cost = COSTS.get(name, CAMERA_COST if phase == "train" else 10)
    return Job(name, phase, result, words, needs, cost, (sys.executable, "-m", *words, *runs_on))


def _on(flags: Mapping[str, Flags], study: Study) -> Flags:
    return flags.get(study.device_kind, ())


def _tool(name: str) -> tuple[str, ...]:
    return ("tools.pocket", name)


def _animdiff(name: str) -> tuple[str, ...]:
    return ("animdiff_cli", name)
