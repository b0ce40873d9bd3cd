"""Render the clips of a plan, and write their files."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from animdiff_cli.core.events import Emit, Event, Note, Writing, Written, ignore
from animdiff_cli.core.formats import Format
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.clip import Clip
from animdiff_cli.jobs.compatibility import missing_companion_loras
from animdiff_cli.jobs.cost import count_cost
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.missing_weights import refuse_missing
from animdiff_cli.jobs.output_paths import OutputPaths
from animdiff_cli.jobs.rates import remember_rate
from animdiff_cli.jobs.recipe import Recipe, differing_weights
from animdiff_cli.jobs.render_plan import RenderPlan
from animdiff_cli.jobs.timer import ClipTimer
from animdiff_cli.storage.location import Location
from animdiff_cli.storage.objects import size_of

if TYPE_CHECKING:
    from animdiff_cli.jobs.compare_exact import Comparison


@dataclass(frozen=True, slots=True)
class FinishedClip:
    """A clip whose files are written."""

    recipe: Recipe
    files: Mapping[Format, Location]
    seconds: float  # from the end of the clip before; the first includes loading
    notes: tuple[str, ...]  # emitted while this clip was rendered
    comparison: "Comparison | None" = None  # with the exact clip, if the plan asks for it


def render(plan: RenderPlan, emit: Emit = ignore) -> Iterator[Clip]:
    """Load the weights once and render clip after clip."""
    return (clip for clip, _ in _render(plan, emit))


def _render(plan: RenderPlan, emit: Emit) -> Iterator[tuple[Clip, "Comparison | None"]]:
    animator = load_planned(plan, emit)
    if plan.source_recipe:
        for name in differing_weights(plan.source_recipe, animator.hashes.result(), plan.configs[0]):
            emit(Note(f"{name} is not the file the clip was rendered with: frames will differ"))
    for job, config in enumerate(plan.configs, start=1):
        if plan.seeds_drawn:
            emit(Note(f"seed {config.seed}, drawn at random"))
        render_one = partial(animator.render, job=job, jobs=len(plan.configs))
        if plan.compare_exact:
            from animdiff_cli.jobs.compare_exact import render_both  # with the metrics

            yield render_both(render_one, config, emit)
        else:
            yield render_one(config, emit), None


def load_planned(plan: RenderPlan, emit: Emit = ignore) -> Animator:
    """Load the weights of a plan. Raises `NotFound` if some are missing."""
    if plan.weights is None:
        refuse_missing(plan.missing)
    for note in (*plan.notes, *missing_companion_loras(plan.resolved.values)):
        emit(Note(note))
    return replace(load_animator(plan.weights, plan.device, emit=emit), plan=plan)


def render_to_files(plan: RenderPlan, outputs: OutputPaths, emit: Emit = ignore) -> Iterator[FinishedClip]:
    """Render every clip of a plan and write it in every format. Each note is emitted once."""
    notes: list[str] = []
    began = time.monotonic()
    # all clips of a plan cost the same; counted before loading, while the files are open
    cost = count_cost(plan.configs[0], plan.weights, plan.device) if plan.weights and not plan.compare_exact else None
    timer = ClipTimer(plan.device)
    clips = _render(plan, timer.watching(collect_notes(emit, notes)))
    for (clip, comparison), paths in zip(clips, outputs.files, strict=True):
        files = {format: write_file(clip, path, format, emit, outputs.overwrite) for format, path in paths.items()}
        if cost and (rate := timer.rate(cost)):
            remember_rate(rate)
        yield FinishedClip(clip.recipe, files, time.monotonic() - began, tuple(notes), comparison)
        notes.clear()
        began = time.monotonic()


def write_file(clip: Clip, path: Location, format: Format, emit: Emit, overwrite: bool) -> Location:
    """Write a clip in one format, and return the path written."""
    emit(Writing(path))
    written = clip.save(path, format, overwrite=overwrite)
    emit(Written(written, size_of(written)))
    return written


def collect_notes(emit: Emit, notes: list[str]) -> Emit:
    """Append the message of every note to `notes`; pass on every event, but each note only once."""
    emitted: set[str] = set()

    def collect(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.message)
            if event.message in emitted:
                return
            emitted.add(event.message)
        emit(event)

    return collect
