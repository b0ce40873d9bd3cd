"""The study as a table of jobs: footage, trainings, the models that read pictures, renders, and readings of those."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import yaml

from tools.pocket.study import readings, rendering
from tools.pocket.study.conditions import (
    PARTS,
    Condition,
    Measure,
    Part,
    all_conditions,
    camera_job,
    style_job,
)
from tools.pocket.study.jobs import Job, with_needs
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

PHASES: tuple[str, ...] = ("data", "train", "render", "measure")

#: rough seconds of each job where it takes long; they decide only what begins first
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
        "render": 40,
        "read": 15,
    }
)
CAMERA_COST = 80


@dataclass(frozen=True)
class Study:
    """One study: its settings, where it works, and on what."""

    work: Path
    scale: Scale
    scale_name: str
    device: str  # as `animdiff generate --device`
    device_kind: str
    workers: int  # processes that draw footage
    pool: ProcessPoolExecutor | None = None  # renders and reads; None where nothing is run

    def run_folder(self, name: str) -> Path:
        """Name the folder of a training."""
        return self.work / "runs" / name

    def result(self, name: str) -> Path:
        """Name the file a training leaves."""
        folder = self.run_folder(name)
        return folder / ("model_index.json" if name in map(style_job, CHECKPOINTS) else f"{name}.safetensors")

    def footage(self, name: str) -> Path:
        """Name a folder of footage."""
        return self.work / "footage" / name


def study_jobs(study: Study, parts: Sequence[Part] = PARTS, phases: Sequence[str] = PHASES) -> list[Job]:
    """List the jobs of some parts in some phases. What earlier phases make must have been made."""
    jobs = list(all_jobs(study))
    conditions = [one for one in all_conditions(study.scale) if not set(parts).isdisjoint(one.parts)]
    leaves = {render_job(one) for one in conditions} | {read_job(one, m) for one in conditions for m in one.measures}
    wanted = with_needs([job for job in jobs if job.name in leaves], jobs)
    return [job for job in wanted if job.phase in phases]


def all_jobs(study: Study) -> Iterator[Job]:
    """List every job of the study; what a job needs comes before it."""
    yield from _footage(study)
    yield from _trainings(study)
    yield from _pictures_readers(study)
    for condition in all_conditions(study.scale):
        yield _render(study, condition)
    for condition in all_conditions(study.scale):
        yield from (_read(study, condition, measure) for measure in condition.measures if is_possible(measure))


def render_job(condition: Condition) -> str:
    """Name the job that renders a condition."""
    return f"render-{condition.name}"


def read_job(condition: Condition, measure: Measure) -> str:
    """Name the job that reads one measure off a condition's clips."""
    return f"{measure}-{condition.name}"


def _footage(study: Study) -> Iterator[Job]:
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


def _trainings(study: Study) -> Iterator[Job]:
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
        yield _refine(study, style)
    for style in LORAS:
        on_stills = ("train-adapter", "--model", "pocket", "--videos")
        yield _train(study, style_job(style), f"stills-of-{style}", on_stills, scale.style_lora)
    for shot in SHOTS:
        yield _camera(study, shot)
    for rank in RANKS:
        yield _camera(study, VARIED_SHOT, rank=rank)
    for stills in (FEW_STILLS, MANY_STILLS):
        yield _camera(study, VARIED_SHOT, stills=stills)


def _from_zero(study: Study, name: str, command: tuple[str, ...], beta_schedule: str) -> Job:
    """Train on unmarked clips by the settings file that all three share."""
    words = ("--config", str(motion_settings(study)), "--set", f"beta_schedule={beta_schedule}")
    # settings of the file are named too: they decide the result as much as flags do
    shared = tuple(f"{key}={value}" for key, value in study.scale.motion.items())
    every = (*command, *words, *_on(TRAIN_ON, study), "-o", str(study.run_folder(name)), "-q")
    job = _command(name, "train", study.result(name), every, ("clips",), runs_on=("--device", study.device))
    return replace(job, words=(*job.words, *shared))


def motion_settings(study: Study) -> Path:
    """Name the settings that modules from zero are trained with; `write_settings` writes them."""
    return study.work / "motion.yaml"


def write_settings(study: Study) -> None:
    """Write the settings file the trainings from zero share."""
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
    flags = (*study.scale.camera, "--shot", shot, "--rank", str(rank or CAMERA_RANK), *limit)
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
    """Train by a command of the program; `command` ends in the flag that names the footage."""
    folder = study.footage(footage)
    one_frame = () if command[0] != "train-motion" else ("--stride", "1")
    words = (*_animdiff(command[0]), *command[1:], str(folder), *one_frame, *flags, "--seed", str(TRAINING_SEED))
    every = (*words, *_on(TRAIN_ON, study), "-o", str(study.run_folder(name)), "-q")
    runs_on = ("--device", study.device)
    return _command(name, "train", study.result(name), every, (footage, *needs), runs_on=runs_on)


def _refine(study: Study, style: str) -> Job:
    name = style_job(style)
    folder = study.run_folder(name)
    words = ("--part", "image", "--style", style, *study.scale.refine, *_on(REFINE_ON, study))
    where = ("--work", str(study.work / "refine" / style), "--out", str(folder))
    runs_on = ("--device", study.device)
    return _command(name, "train", study.result(name), (*_tool("refine"), *words, *where), runs_on=runs_on)


def _pictures_readers(study: Study) -> Iterator[Job]:
    """List the trainings of what reads pictures: two classifiers and the paper's encoder."""
    sizes = {
        "classifier": (study.scale.classifier_clips, study.scale.classifier_epochs),
        "style-reader": (study.scale.style_stills_read,),
    }
    for name, size in sizes.items():
        result = study.work / f"{name}.json"
        words = (name, *map(str, size))
        call = partial(_in_pool, study, readings.train_reader, name, study.work, study.scale)
        yield Job(name, "train", result, words, (), COSTS[name], call=call)
    folder = study.run_folder("encoder")
    device = study.device_kind if study.device == "auto" else study.device
    words = (*_tool("encoder"), "--out", str(folder), *study.scale.encoder)
    yield _command("encoder", "train", folder / "encoder.json", words, runs_on=("--device", device))


def _render(study: Study, condition: Condition) -> Job:
    index = rendering.index_file(study.work, condition.name)
    results = {name: study.result(name) for name in condition.needs}
    flags = condition.flags(results, steps=study.scale.steps)
    asked = f"{condition.clips_per_kind} per kind, {condition.num_frames} frames"
    words = (json.dumps(flags, sort_keys=True), condition.module, asked)
    convolution = results.get("temporal-convolution")
    order = rendering.Order(condition, flags, study.device, study.work, convolution)
    call = partial(_in_pool, study, rendering.render_condition, order)
    return Job(render_job(condition), "render", index, words, condition.needs, COSTS["render"], call=call)


def _read(study: Study, condition: Condition, measure: Measure) -> Job:
    needs = [render_job(condition), *readings.NEEDS[measure]]
    if measure == "clip":
        needs.append(f"render-stills-{condition.style}")
    task = readings.Task(study.work, condition.name, measure, condition.style, study.run_folder("encoder"))
    call = partial(_in_pool, study, readings.read_condition, task)
    result = readings.file_of(study.work, condition.name, measure)
    return Job(read_job(condition, measure), "measure", result, (measure,), tuple(needs), COSTS["read"], call=call)


def is_possible(measure: Measure) -> bool:
    """Say whether this machine has what a measure takes: the camera needs OpenCV."""
    return measure != "camera" or find_spec("cv2") is not None


def _in_pool(study: Study, task: Callable[..., None], *arguments: object) -> None:
    """Do a task in a process that is kept; the last of `arguments` is the log."""
    assert study.pool
    study.pool.submit(task, *arguments).result()


def _command(name: str, phase: str, result: Path, words: Flags, needs: tuple[str, ...] = (), *, runs_on: Flags) -> Job:
    cost = COSTS.get(name, CAMERA_COST if phase == "train" else 10)
    return Job(name, phase, result, words, needs, cost, (sys.executable, "-m", *words, *runs_on))


def _on(flags: Mapping[str, Flags], study: Study) -> Flags:
    return flags.get(study.device_kind, ())


def _tool(name: str) -> tuple[str, ...]:
    return ("tools.pocket", name)


def _animdiff(name: str) -> tuple[str, ...]:
    return ("animdiff_cli", name)
