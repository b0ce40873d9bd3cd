"""Render one job under its lock, and record it in the manifest before the lock is released."""

import time
from collections.abc import Mapping
from typing import Protocol

from animdiff_cli.core.event_records import EmitRecord, StartedRecord, recorder
from animdiff_cli.core.events import Emit
from animdiff_cli.core.formats import Format
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.jobs.batch.failures import WorkerLost, describe, is_disk_full, is_sticky
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.stamps import stamp
from animdiff_cli.jobs.batch.tasks import Outcome, Task
from animdiff_cli.jobs.render import FinishedClip
from animdiff_cli.jobs.render_stream import done_record
from animdiff_cli.storage.location import Location


class Renderer(Protocol):
    """Renders tasks, and keeps the weights of the last one."""

    threads: int | None  # CPU threads of a render on a CPU

    def render(self, task: Task, files: Mapping[Format, Location], emit: Emit) -> FinishedClip:
        """Render a task and write its files, replacing any."""
        ...


def attempt(task: Task, ledger: Ledger, renderer: Renderer, write: EmitRecord, worker: str | None) -> Outcome:
    """Render a task unless another process does or has done so.

    A failure is recorded and returned. Ctrl-C is recorded as an interruption. Raises `UsageError` if the manifest or
    the lock cannot be written: then no job of the batch can be finished.
    """
    with ledger.locks.held(task.job) as held:
        if not held:
            return Outcome("locked")
        if ledger.is_done(task):
            return Outcome("elsewhere")
        try:
            ledger.manifests.append(task.line("started", worker))
            write(StartedRecord(job=task.job, worker=worker, attempt=task.attempt).record())
            files = {format: ledger.folder / name for format, name in task.outputs.items()}
            clip = renderer.render(task, files, recorder(task.job, write, time.monotonic))
            with readable_output_failures(ledger.manifests.folder):
                stamps = {format: stamp(ledger.folder, name) for format, name in task.outputs.items()}
        except KeyboardInterrupt:
            ledger.manifests.append(task.line("interrupted", worker))
            return Outcome("interrupted")
        except WorkerLost as lost:
            return Outcome("died", lost.failure)
        except Exception as error:
            failure = describe(error)
            ledger.manifests.append(task.line("failed", worker, error=failure))
            return Outcome("failed", failure, is_broken=is_sticky(error), is_disk_full=is_disk_full(error))
        seconds = round(clip.seconds, 3)
        ledger.manifests.append(task.line("done", worker, outputs=stamps, seconds=seconds, threads=renderer.threads))
        write(done_record(task.job, clip, worker=worker).record())
        return Outcome("done")
