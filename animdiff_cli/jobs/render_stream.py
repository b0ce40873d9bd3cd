"""Render the clips of a plan, and write the records of everything that happens."""

import time
from collections.abc import Iterator, Sequence

from animdiff_cli.core.event_records import (
    DoneRecord,
    EmitRecord,
    InterruptedRecord,
    QueuedRecord,
    StartedRecord,
    failed,
    recorder,
)
from animdiff_cli.core.events import Emit, Event
from animdiff_cli.core.prompt_travel import describe_prompt
from animdiff_cli.jobs.output_paths import OutputPaths
from animdiff_cli.jobs.recipe import recorded_settings
from animdiff_cli.jobs.render import FinishedClip, render_to_files
from animdiff_cli.jobs.render_plan import RenderPlan


def render_with_records(
    plan: RenderPlan, outputs: OutputPaths, jobs: Sequence[str], emit: Emit, write: EmitRecord
) -> Iterator[FinishedClip]:
    """Render like `render_to_files`, and write the event records of every clip. `jobs` identifies the clips."""
    for job, config, files in zip(jobs, plan.configs, outputs.files, strict=True):
        paths = {format: str(path) for format, path in files.items()}
        settings = recorded_settings(config)
        name = f"{describe_prompt(settings['prompt'])}, seed {config.seed}"
        write(QueuedRecord(job=job, name=name, outputs=paths, config=settings).record())
    current = recorder(jobs[0], write, time.monotonic)

    def emit_and_record(event: Event) -> None:
        emit(event)
        current(event)

    clips = render_to_files(plan, outputs, emit_and_record)
    for job in jobs:
        current = recorder(job, write, time.monotonic)
        write(StartedRecord(job=job).record())
        try:
            clip = next(clips)
        except KeyboardInterrupt:
            write(InterruptedRecord(job=job).record())
            raise
        except Exception as error:
            write(failed(job, error))
            raise
        write(done_record(job, clip).record())
        yield clip


def done_record(job: str, clip: FinishedClip, *, worker: str | None = None) -> DoneRecord:
    """Return the record of a finished clip, with its recipe."""
    paths = {format: str(path) for format, path in clip.files.items()}
    seconds = round(clip.seconds, 2)
    comparison = clip.comparison.record() if clip.comparison else None
    return DoneRecord(
        job=job,
        outputs=paths,
        seconds=seconds,
        notes=clip.notes,
        worker=worker,
        comparison=comparison,
        **clip.recipe,
    )
