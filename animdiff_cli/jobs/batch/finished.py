"""Find out that a whole batch is done, without importing torch."""

from collections.abc import Sequence
from typing import Any

from animdiff_cli.core.event_records import NoteRecord, Record, SkippedRecord
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.jobs.batch.fingerprint import fingerprint
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.records import Resolvable, weights_key
from animdiff_cli.jobs.batch.resolve import ResolvedBatch
from animdiff_cli.jobs.batch.resume import MANIFEST, task_of
from animdiff_cli.jobs.batch.tasks import Task
from animdiff_cli.jobs.inputs import input_hashes
from animdiff_cli.jobs.recipe import WeightHashes
from animdiff_cli.jobs.weight_files import find_weights
from animdiff_cli.registry.file_facts_cache import cached_sha256
from animdiff_cli.storage.location import RemotePath
from animdiff_cli.storage.outputs import output_location


def finished_records(batch: ResolvedBatch) -> list[Record] | None:
    """Return the event records of a batch whose jobs are all done and whose files are whole. None if one is not.

    Outputs on a storage system, and mistakes, are left to the plan of the batch.
    """
    folder = output_location(batch.output)
    if batch.mistakes or isinstance(folder, RemotePath):
        return None
    ledger = Ledger.at(folder, MANIFEST)
    known = ledger.manifests.latest()
    if not known:
        return None
    try:
        tasks = _tasks(batch.jobs)
    except AnimdiffError:  # weights or inputs are missing
        return None
    lines = [known.get(task.job) for task in tasks]
    if not all(line and line.state == "done" for line in lines):  # before files are read
        return None
    if not all(line and ledger.is_intact(task, line) for task, line in zip(tasks, lines, strict=True)):
        return None
    notes = [NoteRecord(job=None, message=note).record() for note in (*batch.notes, *ledger.manifests.notes)]
    skipped = [SkippedRecord(job=task.job, outputs=ledger.paths(task), config=task.recorded) for task in tasks]
    return [*notes, *(one.record() for one in skipped)]


def _tasks(jobs: Sequence[Resolvable]) -> list[Task]:
    """Return the tasks of a batch, ordered by their weights as `plan_groups` orders them."""
    hashes: dict[Any, WeightHashes] = {}
    grouped: dict[Any, list[Task]] = {}
    for job in (one.job for one in jobs):
        key = weights_key(job.config)
        if key not in hashes:
            hashes[key] = find_weights(job.config).hashes(cached_sha256)
        grouped.setdefault(key, []).append(task_of(fingerprint(job, hashes[key], input_hashes(job.config)), job))
    return [task for tasks in grouped.values() for task in tasks]
