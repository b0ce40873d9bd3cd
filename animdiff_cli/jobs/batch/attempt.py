"""Render one job under its lock, and record it in the manifest before the lock is released."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from animdiff_cli.core.event_records import EmitRecord, StartedRecord, recorder
from animdiff_cli.core.events import Emit
from animdiff_cli.core.formats import Format
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.jobs.batch.failures import WorkerLost, describe, is_disk_full, is_sticky
from animdiff_cli.jobs.batch.locks import JobLocks
from animdiff_cli.jobs.batch.manifest import Failure, Line, Manifests
from animdiff_cli.jobs.batch.mirror import Listing, Mirror, state_folder
from animdiff_cli.jobs.batch.stamps import is_whole, list_below, stamp
from animdiff_cli.jobs.batch.tasks import Outcome, Task
from animdiff_cli.jobs.render import FinishedClip
from animdiff_cli.jobs.render_stream import done_record
from animdiff_cli.storage.location import Location, RemotePath


class Renderer(Protocol):
    """Renders tasks, and keeps the weights of the last one."""

    threads: int | None  # CPU threads of a render on a CPU

    def render(self, task: Task, files: Mapping[Format, Location], emit: Emit) -> FinishedClip:
        """Render a task and write its files, replacing any."""
        ...


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known about the jobs of a batch: outputs, manifests and locks in its output folder.

    If that is on a storage system, manifests and locks are on this machine, and `mirror` copies the manifests.
    """

    folder: Location
    manifests: Manifests
    locks: JobLocks
    mirror: Mirror | None = None

    @classmethod
    def at(cls, folder: Location, own: str) -> "Ledger":
        """Return the ledger of an output folder; `own` is the manifest that is appended to."""
        if isinstance(folder, RemotePath):
            state = state_folder(folder)
            return cls(folder, Manifests(state, own), JobLocks(state), Mirror(folder, state, own))
        return cls(folder, Manifests(folder, own), JobLocks(folder))

    @property
    def listing(self) -> Listing | None:
        """What was on the storage system at `pull`; None if the outputs are local, or `pull` was not called."""
        return self.mirror.listing if self.mirror else None

    def pull(self) -> None:
        """Download the manifests that another machine left on the storage system. Raises `AnimdiffError`."""
        if self.mirror:
            self.mirror.pull()

    def exists(self, name: str) -> bool:
        """Return whether there is an output `name`; on a storage system, whether there was at `pull`."""
        if isinstance(self.folder, RemotePath):
            return bool(list_below(self.folder, name, self.listing))
        return os.path.lexists(self.folder / name)

    def paths(self, task: Task) -> dict[str, str]:
        """Return the path of each output of a task, by format."""
        return {format: str(self.folder / name) for format, name in task.outputs.items()}

    def is_done(self, task: Task, listing: Listing | None = None) -> bool:
        """Return whether the manifest says that a job is done and all its files are whole."""
        line = self.manifests.latest().get(task.job)
        return line is not None and self.is_intact(task, line, listing)

    def is_intact(self, task: Task, line: Line, listing: Listing | None = None) -> bool:
        """Return whether `line` says that the job is done, and all its files are whole. `listing`: see `is_whole`."""
        outputs = line.outputs or {}
        if line.state != "done" or {format: one.path for format, one in outputs.items()} != dict(task.outputs):
            return False
        return all(is_whole(self.folder, one, listing) for one in outputs.values())

    def record_death(self, task: Task, worker: str | None, failure: Failure | None) -> None:
        """Record a job whose worker has died, unless another process has taken it up. No failure: an interruption."""
        with self.locks.held(task.job) as held:
            if held and not self.is_done(task):
                self.manifests.append(task.line("failed" if failure else "interrupted", worker, error=failure))


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
