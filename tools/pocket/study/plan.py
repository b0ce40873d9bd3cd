"""The study as a table of jobs: footage, trainings, classifiers, renders and measurements."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec

from animdiff_cli.paths import pocket_dir
from tools.pocket.study import autoencoder_ceiling, readings, rendering
from tools.pocket.study.conditions import (
    PARTS,
    STYLES,
    Condition,
    Measure,
    Part,
    all_conditions,
    look_job,
)
from tools.pocket.study.jobs import Job, with_needs
from tools.pocket.study.settings import CHECKPOINTS, FOOTAGE_SEED, PHASES
from tools.pocket.study.trainings import COSTS, Study, footage_jobs, training_jobs

VAE_FILE = "vae/diffusion_pytorch_model.safetensors"


def study_jobs(study: Study, parts: Sequence[Part] = PARTS, phases: Sequence[str] = PHASES) -> list[Job]:
    """List the jobs of some parts in some phases. Results of earlier phases must exist."""
    jobs = list(all_jobs(study))
    conditions = [one for one in all_conditions(study.scale) if not set(parts).isdisjoint(one.parts)]
    leaves = {render_job(one) for one in conditions} | {read_job(one, m) for one in conditions for m in one.measures}
    if "plug" in parts:
        leaves |= {ceiling_job(style) for style in STYLES}
    wanted = with_needs([job for job in jobs if job.name in leaves], jobs)
    return [job for job in wanted if job.phase in phases]


def all_jobs(study: Study) -> Iterator[Job]:
    """List every job of the study; dependencies come first."""
    yield from footage_jobs(study)
    yield from training_jobs(study)
    yield from _classifiers(study)
    yield from (_ceiling(study, style) for style in STYLES)
    for condition in all_conditions(study.scale):
        yield _render(study, condition)
    for condition in all_conditions(study.scale):
        yield from (_read(study, condition, measure) for measure in condition.measures if is_possible(measure))


def render_job(condition: Condition) -> str:
    """Return the name of the job that renders a condition."""
    return f"render-{condition.name}"


def read_job(condition: Condition, measure: Measure) -> str:
    """Return the name of the job that computes one measure of a condition."""
    return f"{measure}-{condition.name}"


def _classifiers(study: Study) -> Iterator[Job]:
    """List the trainings of the classifiers, which run in this process."""
    sizes = {
        "classifier": (study.scale.classifier_clips, study.scale.classifier_epochs),
        "style-reader": (study.scale.style_stills_read,),
    }
    for name, size in sizes.items():
        result = study.work / f"{name}.json"
        words = (name, *map(str, size))
        call = partial(_in_pool, study, readings.train_reader, name, study.work, study.scale)
        yield Job(name, "train", result, words, (), COSTS[name], call=call)


def ceiling_job(style: str) -> str:
    """Return the name of the job that measures true clips of a style after the autoencoder."""
    return f"ceiling-{style}"


def _ceiling(study: Study, style: str) -> Job:
    clips = study.scale.ceiling_clips
    result = autoencoder_ceiling.file_of(study.work, style)
    own = (look_job(style),) if style in CHECKPOINTS else ()
    folder = study.result(*own).parent if own else pocket_dir()
    call = partial(
        _in_pool, study, autoencoder_ceiling.read_ceiling, study.work, style, folder / "vae", clips, FOOTAGE_SEED
    )
    made_by = own or (hashlib.sha256((pocket_dir() / VAE_FILE).read_bytes()).hexdigest(),)
    needs = ("style-reader", *own)
    return Job(ceiling_job(style), "measure", result, (str(clips), *made_by), needs, COSTS["read"], call=call)


def _render(study: Study, condition: Condition) -> Job:
    index = rendering.index_file(study.work, condition.name)
    results = {name: study.result(name) for name in condition.needs}
    flags = condition.flags(results, steps=study.scale.steps)
    asked = f"{condition.clips_per_kind} per kind, {condition.num_frames} frames"
    words = (json.dumps(flags, sort_keys=True), condition.module, asked)
    convolution = results.get("temporal-convolution")
    task = rendering.RenderTask(condition, flags, study.device, study.work, convolution)
    call = partial(_in_pool, study, rendering.render_condition, task)
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
    """Return True if a measure can run here: camera motion needs OpenCV."""
    return measure != "camera" or find_spec("cv2") is not None


def _in_pool(study: Study, task: Callable[..., None], *arguments: object) -> None:
    """Run a task in a persistent process; the last of `arguments` is the log."""
    assert study.pool
    study.pool.submit(task, *arguments).result()
