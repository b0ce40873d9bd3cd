"""`python -m tools.pocket measure --out FILE.json`: evaluate stills, motion and constancy of the pocket model."""

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.pocket.calibrate import constancy_trials, law_trials
from tools.pocket.captions import caption
from tools.pocket.classify import Classifier, is_constant, read, trained_classifier
from tools.pocket.command import tell
from tools.pocket.law_checks import obeys
from tools.pocket.renders import ClipRenderer, RenderClips
from tools.pocket.report import Share, markdown, share, total, write_json
from tools.pocket.world import OBJECTS, VERSION, Scene, random_scene

TARGETS = {"object": 0.90, "colour": 0.95, "place": 0.95, "obeys": 0.85, "obeys without": 0.20, "constancy": 0.95}


@dataclass(frozen=True, slots=True)
class MotionFigures:
    """Shares of the clips of one kind: obeying their law with and without the motion module, constant, as prompted."""

    obeys: Share
    obeys_without: Share
    constant: Share
    as_prompted: Share


def main(argv: Sequence[str]) -> int:
    """Measure, write the JSON report and print the tables; return the exit status."""
    arguments = _parser().parse_args(argv)
    classifier, accuracy = trained_classifier(arguments.work, tell)
    tell("trying the measures on the world itself")
    laws = law_trials(arguments.calibration_clips, np.random.default_rng(1))
    constant = constancy_trials(arguments.calibration_clips * 4, classifier, np.random.default_rng(2))
    report: dict[str, Any] = {
        "world_version": VERSION,
        "calibration": {
            "classifier": asdict(accuracy),
            "laws": {kind: {trial: one.as_json() for trial, one in row.items()} for kind, row in laws.items()},
            "constancy": {trial: one.as_json() for trial, one in constant.items()},
        },
    }
    print(calibration_table(laws))
    if not arguments.calibrate_only:
        flags = {"model": arguments.model, "motion_module": arguments.motion_module, "steps": arguments.steps}
        flags = {key: value for key, value in flags.items() if value}
        renderer = ClipRenderer(flags, arguments.device, arguments.work / "renders")
        report |= measure(
            renderer,
            classifier,
            stills=arguments.stills,
            clips=arguments.clips,
            seed=arguments.seed,
            workers=arguments.workers,
        )
        report["rendered_with"] = renderer.settings(motion=True)
    write_json(arguments.out, report, indent=2)
    return 0


def measure(
    render: RenderClips, classifier: Classifier, *, stills: int, clips: int, seed: int, workers: int = 1
) -> dict[str, Any]:
    """Measure stills, then motion and constancy on `clips` clips of every kind; prints both tables.

    Each of several `workers` is a process that loads its own model; `render` must then be picklable.
    """
    stills_task = partial(measure_stills, render, classifier, count=stills, seed=seed)
    motion_tasks = [partial(measure_motion, render, classifier, kind, count=clips, seed=seed) for kind in OBJECTS]
    pictures, *figures = _run([stills_task, *motion_tasks], workers)
    motion = dict(zip(OBJECTS, figures, strict=True))
    print("\n" + stills_table(pictures))
    print("\n" + motion_table(motion))
    return {
        "targets": TARGETS,
        "stills": {what: one.as_json() for what, one in pictures.items()},
        "motion": {kind: _figures_json(figures) for kind, figures in {**motion, "all": _sum(motion)}.items()},
    }


def _run(tasks: Sequence[Callable[[], Any]], workers: int) -> list[Any]:
    if workers == 1:
        return [task() for task in tasks]
    # more threads than cores would slow each other down
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        return [running.result() for running in [pool.submit(task) for task in tasks]]


def measure_stills(render: RenderClips, classifier: Classifier, *, count: int, seed: int) -> dict[str, Share]:
    """Render `count` prompts as single images, and count what the classifier recognizes as prompted."""
    found: dict[str, list[bool]] = {"object": [], "colour": [], "place": []}
    for number, (scene, prompt) in enumerate(asked_for(count, seed)):
        tell(f"still {number + 1}/{count}: {prompt}")
        reading = read(classifier, render(prompt, seed + number, motion=False, num_frames=1))[0]
        found["object"].append(reading.kind == scene.kind)
        found["colour"].append(reading.colour == scene.colour)
        found["place"].append(reading.place == scene.place)
    return {what: share(outcomes) for what, outcomes in found.items()}


def measure_motion(render: RenderClips, classifier: Classifier, kind: str, *, count: int, seed: int) -> MotionFigures:
    """Render `count` clips of one kind with and without the motion module from the same noise, and track them."""
    obeyed, without, constant, prompted = [], [], [], []
    for number, (scene, prompt) in enumerate(asked_for(count, seed, kind=kind)):
        tell(f"{kind} {number + 1}/{count}: {prompt}")
        frames = render(prompt, seed + number, motion=True)
        obeyed.append(obeys(frames, kind, scene.colour))
        without.append(obeys(render(prompt, seed + number, motion=False), kind, scene.colour))
        constant.append(is_constant(classifier, frames))
        middle = read(classifier, frames[8:9])[0]
        prompted.append((middle.kind, middle.colour, middle.place) == (scene.kind, scene.colour, scene.place))
    return MotionFigures(share(obeyed), share(without), share(constant), share(prompted))


def asked_for(count: int, seed: int, kind: str | None = None) -> list[tuple[Scene, str]]:
    """Draw random scenes over all colours and places, with their captions."""
    series = OBJECTS.index(kind) if kind else len(OBJECTS)
    asked = []
    for number in range(count):
        rng = np.random.default_rng(
            [seed, series, number]
        )  # one generator per scene, so that the first ones do not depend on `count`
        scene = random_scene(rng, kind=kind or OBJECTS[number % len(OBJECTS)])
        asked.append((scene, caption(scene, rng)))
    return asked


def calibration_table(laws: dict[str, dict[str, Share]]) -> str:
    """Format how many clips of the world itself pass the checks of their law."""
    trials = list(next(iter(laws.values())))
    rows = [(kind, *(f"{row[trial].value:.1%}" for trial in trials)) for kind, row in laws.items()]
    together = ("all", *(total(row[trial] for row in laws.values()) for trial in trials))
    return markdown(("passes its law", *trials), [*rows, together])


def stills_table(found: dict[str, Share]) -> str:
    """Format how many stills show what was prompted."""
    rows = [(what, one, f"≥ {TARGETS[what]:.0%}") for what, one in found.items()]
    return markdown(("stills", "recognised", "target"), rows)


def motion_table(motion: dict[str, MotionFigures]) -> str:
    """Format every kind, and all together against the targets."""
    rows = [_motion_row(kind, figures) for kind, figures in {**motion, "all": _sum(motion)}.items()]
    goals = (f"≥ {TARGETS['obeys']:.0%}", f"≤ {TARGETS['obeys without']:.0%}", f"≥ {TARGETS['constancy']:.0%}", "")
    head = ("clips", "obey their law", "without the module", "subject constant", "as prompted")
    return markdown(head, [*rows, ("target", *goals)])


def _motion_row(kind: str, figures: MotionFigures) -> tuple[object, ...]:
    return kind, figures.obeys, figures.obeys_without, figures.constant, figures.as_prompted


def _sum(motion: dict[str, MotionFigures]) -> MotionFigures:
    rows = list(motion.values())
    return MotionFigures(
        obeys=total(row.obeys for row in rows),
        obeys_without=total(row.obeys_without for row in rows),
        constant=total(row.constant for row in rows),
        as_prompted=total(row.as_prompted for row in rows),
    )


def _figures_json(figures: MotionFigures) -> dict[str, Any]:
    return {
        "obeys": figures.obeys.as_json(),
        "obeys_without": figures.obeys_without.as_json(),
        "constant": figures.constant.as_json(),
        "as_prompted": figures.as_prompted.as_json(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.pocket measure", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON report is written")
    parser.add_argument("--model", default="pocket", help="image model to measure (default: %(default)s)")
    parser.add_argument("--motion-module", help="where the model does not recommend one")
    parser.add_argument("--steps", type=int, help="denoising steps, where they are not those that the model recommends")
    parser.add_argument("--device", default="auto", help="as `animdiff generate --device`")
    parser.add_argument("--stills", type=int, default=200, help="prompts to render as stills")
    parser.add_argument("--clips", type=int, default=32, help="clips of every kind")
    parser.add_argument("--calibration-clips", type=int, default=60, help="world clips of every kind")
    parser.add_argument("--calibrate-only", action="store_true", help="try the measures on the world, render nothing")
    parser.add_argument("--seed", type=int, default=1000, help="of prompts and noise")
    parser.add_argument("--workers", type=int, default=1, help="processes that render at the same time")
    parser.add_argument("--work", type=Path, default=Path(".pocket"), help="keeps the classifier and rendered clips")
    return parser
