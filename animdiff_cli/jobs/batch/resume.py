"""What is left of a batch: which jobs are done, which are rendered again, and which files are in the way."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from animdiff_cli.core.event_records import EmitRecord, NoteRecord, QueuedRecord, SkippedRecord
from animdiff_cli.core.text import counted
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.batch.fingerprint import fingerprints
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.records import BatchJob, BatchPlan
from animdiff_cli.jobs.batch.shards import Shard
from animdiff_cli.jobs.batch.tasks import Task
from animdiff_cli.jobs.recipe import recorded_settings
from animdiff_cli.storage.location import Location
from animdiff_cli.storage.outputs import output_location

MANIFEST = "manifest.jsonl"


def tasks_of(plan: BatchPlan, shard: Shard | None) -> Sequence[Task]:
    """Return the tasks of a batch, or of one shard of it. Hashes weights and inputs."""
    tasks = [task_of(job, planned) for job, planned in zip(fingerprints(plan), plan.jobs, strict=True)]
    return shard.of(tasks) if shard else tasks


def task_of(fingerprint: str, job: BatchJob) -> Task:
    """Return the task of a job."""
    settings = job.config.model_dump(mode="json")
    return Task(fingerprint, job.name, settings, dict(job.outputs), job.group, recorded_settings(job.config))


def pending(plan: BatchPlan, shard: Shard | None, *, overwrite: bool) -> tuple[BatchPlan, int]:
    """Return the plan without the jobs that a run would leave out, and how many of them are done.

    While weights are missing, no job is known to be done. Writes no output. Raises as `skip_done`.
    """
    jobs = shard.of(plan.jobs) if shard else plan.jobs
    if any(group.weights is None for group in plan.groups):
        return replace(plan, jobs=tuple(jobs)), 0
    ledger = Ledger.at(output_location(plan.output), MANIFEST)
    ledger.pull()
    tasks = tasks_of(plan, shard)
    left = [number for number, task in enumerate(tasks) if not ledger.is_done(task, ledger.listing)]
    if not overwrite:
        _refuse_foreign([tasks[number] for number in left], ledger)
    return replace(plan, jobs=tuple(jobs[number] for number in left)), len(tasks) - len(left)


def skip_done(
    tasks: Sequence[Task], ledger: Ledger, write: EmitRecord, *, overwrite: bool, is_stopped: Callable[[], bool]
) -> tuple[list[Task], int]:
    """Report the tasks that are done. Returns the others, queued in the manifest, and how many are done.

    Raises `UsageError` for a file that this batch did not render and would replace, unless `overwrite`.
    """
    known = ledger.manifests.latest()
    for note in ledger.manifests.notes:
        write(NoteRecord(job=None, message=note).record())
    left: list[Task] = []
    skipped = 0
    for task in tasks:
        if is_stopped():
            return [], skipped
        line = known.get(task.job)
        if line is None:
            left.append(task)
        elif ledger.is_intact(task, line, ledger.listing):
            write(SkippedRecord(job=task.job, outputs=ledger.paths(task), config=task.recorded).record())
            skipped += 1
        else:
            if line.state == "done":
                write(NoteRecord(job=task.job, message=f"{_what_changed(task, ledger)}: it is rendered again").record())
            left.append(task if line.state in ("done", "queued") else task.after(line.attempt))
    if not overwrite:
        _refuse_foreign(left, ledger)
    new = [task.line("queued", None) for task in left if task.job not in known]
    if new:
        ledger.manifests.append(*new)
    for task in left:
        paths = ledger.paths(task)
        write(QueuedRecord(job=task.job, name=task.name, outputs=paths, config=task.recorded).record())
    return left, skipped


def _what_changed(task: Task, ledger: Ledger) -> str:
    missing = [name for name in task.outputs.values() if not ledger.exists(name)]
    if missing:
        return f"`{ledger.folder / missing[0]}` was removed since it was rendered"
    names = " or ".join(f"`{ledger.folder / name}`" for name in task.outputs.values())
    return f"{names} was changed since it was rendered"


def _refuse_foreign(tasks: Sequence[Task], ledger: Ledger) -> None:
    found = [(task, path) for task in tasks for path in _existing(task, ledger)]
    if found and (latest := ledger.manifests.latest()):  # another process may have begun since
        found = [(task, path) for task, path in found if task.job not in latest]
    if found:
        task, path = found[0]
        others = f", and {counted(len(found) - 1, 'other file')} too" if len(found) > 1 else ""
        raise UsageError(
            f"{task.name}: `{path}` exists, and was not rendered with these settings{others}",
            hint="choose another folder with `--output`, or replace what is there with `--overwrite`",
        )


def _existing(task: Task, ledger: Ledger) -> list[Location]:
    if task.job in ledger.manifests.latest():
        return []
    return [ledger.folder / name for name in task.outputs.values() if ledger.exists(name)]
