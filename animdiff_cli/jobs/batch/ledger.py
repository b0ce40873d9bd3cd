"""What is known about the jobs of a batch."""

import os
from dataclasses import dataclass

from animdiff_cli.jobs.batch.locks import JobLocks
from animdiff_cli.jobs.batch.manifest import Failure, Line, Manifests
from animdiff_cli.jobs.batch.mirror import Listing, Mirror, state_folder
from animdiff_cli.jobs.batch.stamps import is_whole, list_below
from animdiff_cli.jobs.batch.tasks import Task
from animdiff_cli.storage.location import Location, RemotePath


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
