"""Render one job in the thread of a device, and write its files."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from animdiff_cli.core.event_records import DoneRecord, Record, recorder
from animdiff_cli.core.events import Emit, Event, Note, Written
from animdiff_cli.core.formats import Format
from animdiff_cli.errors import DeviceError
from animdiff_cli.files.atomic import remove
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.jobs.clip import Clip
from animdiff_cli.jobs.serve.planning import paths_within
from animdiff_cli.jobs.serve.queue import Cancelled, Job, Rendered
from animdiff_cli.jobs.serve.warm import WarmModels
from animdiff_cli.jobs.serve.wire import FileRecord


def render_job(
    job: Job, write: Callable[[Record], None], *, models: WarmModels, output: Path, temporary: Path
) -> Rendered:
    """Render a job with warm weights and write its files below `output`, or below `temporary` if it does not keep them.

    Raises `AnimdiffError`, or `Cancelled` at the next event after the job was cancelled.
    """
    planned, notes = job.planned, []
    folder = output if planned.keep else temporary / job.id

    def emit(event: Event) -> None:
        if job.cancel.is_set():
            raise Cancelled
        if isinstance(event, Note) and event.message not in notes:
            notes.append(event.message)
        to_records(event)

    to_records = recorder(job.id, write, time.monotonic)
    for message in planned.notes:
        emit(Note(message))
    try:
        clip = models.animator(planned.config, emit).render(planned.config, emit)
    except DeviceError:
        models.drop_all()
        raise
    written = _write_files(clip, paths_within(folder, planned.name, planned.formats), folder, emit)
    done = DoneRecord(
        job=job.id,
        outputs={format: path.relative_to(folder).as_posix() for format, path in written.items()},
        seconds=0,
        notes=tuple(notes),
        **clip.recipe,
    )
    files = tuple(_files(written, folder))
    return Rendered(done.record(), files, folder)


def _write_files(clip: Clip, paths: dict[Format, Path], folder: Path, emit: Emit) -> dict[Format, Path]:
    """Write the clip in every format. If the job is cancelled or one fails, none is left."""
    written: dict[Format, Path] = {}
    try:
        for format, path in paths.items():
            saved = clip.save(path, format)
            assert isinstance(saved, Path)  # as `path`
            written[format] = saved
            emit(Written(saved.relative_to(folder), saved.stat().st_size))
    except BaseException:
        for path in written.values():
            remove(path)
        raise
    return written


def _files(written: dict[Format, Path], folder: Path) -> Iterator[FileRecord]:
    for format, path in written.items():
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            yield FileRecord(
                format=format,
                path=file.relative_to(folder).as_posix(),
                bytes=file.stat().st_size,
                sha256=sha256_of(file),
            )
