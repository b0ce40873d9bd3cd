"""Run a planned batch: skip what is done, hand out the rest, retry, stop when asked, and count."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from animdiff_cli.core.event_records import (
    EmitRecord,
    FailedRecord,
    InterruptedRecord,
    NoteRecord,
    Record,
    SkippedRecord,
)
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.files.leftovers import sweep
from animdiff_cli.jobs.batch.crew import BatchOptions, check_options, hire, replacement
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.ray_cluster import connected
from animdiff_cli.jobs.batch.records import BatchPlan
from animdiff_cli.jobs.batch.resume import MANIFEST, skip_done, tasks_of
from animdiff_cli.jobs.batch.stop import Stop, stopping
from animdiff_cli.jobs.batch.task_queue import TaskQueue
from animdiff_cli.jobs.batch.tasks import Outcome, Task
from animdiff_cli.jobs.batch.workers import HereWorker, Worker
from animdiff_cli.jobs.compatibility import missing_companion_loras
from animdiff_cli.storage.location import RemotePath
from animdiff_cli.storage.outputs import output_location

STOPPING = "stopping when the clips that are being rendered are finished; Ctrl-C again stops at once"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many jobs of a batch, or of a shard, ended in which way."""

    done: int  # rendered by this run
    skipped: int  # done before, or by another process
    failed: int
    locked: int  # another process was still rendering them
    left: int  # not rendered because the run was stopped
    is_interrupted: bool  # by Ctrl-C or SIGTERM, before the end

    @property
    def exit_code(self) -> int:
        """Return the exit code: 130 if the run was interrupted, 7 if jobs failed."""
        return 130 if self.is_interrupted else 7 if self.failed else 0


def run_batch(plan: BatchPlan, options: BatchOptions, write: EmitRecord) -> BatchResult:
    """Render the jobs of a plan that are not done, and pass a record of every event to `write`.

    Failed jobs are counted and recorded; the others are rendered. Ctrl-C or SIGTERM lets the clips in progress finish,
    a second one stops at once. Raises `AnimdiffError` if nothing can be rendered or recorded.
    """
    check_options(options)
    with connected(options.ray), stopping() as stop:
        run = _Run(options, _ledger(plan, options), stop, write)
        for note in dict.fromkeys((*plan.notes, *_missing_companions(plan))):
            run.note(note)
        tasks = tasks_of(plan, options.shard)
        run.sweep(tasks)
        run.ledger.pull()
        left, skipped = skip_done(
            tasks, run.ledger, run.write, overwrite=options.overwrite, is_stopped=lambda: stop.is_asked
        )
        run.counts["skipped"] = skipped
        run.push(at_once=True)
        try:
            if left:
                run.render(left)
        finally:
            run.sweep(tasks)
            run.ledger.locks.clean()
        run.push(at_once=True)
        return run.result(len(tasks))


def _ledger(plan: BatchPlan, options: BatchOptions) -> Ledger:
    return Ledger.at(output_location(plan.output), options.shard.manifest if options.shard else MANIFEST)


def _missing_companions(plan: BatchPlan) -> list[str]:
    return [note for group in plan.groups for note in missing_companion_loras(group.resolved.values)]


class _Run:
    """The state of a run. With several workers, `_work` runs in a thread for each."""

    def __init__(self, options: BatchOptions, ledger: Ledger, stop: Stop, write: EmitRecord) -> None:
        self.ledger = ledger
        self.counts: Counter[str] = Counter()  # jobs by how they ended
        self._options = options
        self._stop = stop
        self._write = write
        self._lock = threading.RLock()
        self._is_stop_said = False
        self._failures: Counter[str] = Counter()  # by job
        self._threads_before: set[int] = set()  # CPU threads of the clips that are done
        self._error: Exception | None = None

    def write(self, record: Record) -> None:
        """Pass a record on, one at a time."""
        with self._lock:
            if self._stop.is_asked and not self._is_stop_said:
                self._is_stop_said = True
                self._write(NoteRecord(job=None, message=STOPPING).record())
            self._write(record)

    def note(self, message: str, job: str | None = None) -> None:
        """Write a note."""
        self.write(NoteRecord(job=job, message=message).record())

    def sweep(self, tasks: Sequence[Task]) -> None:
        """Remove what killed processes have left beside the outputs."""
        output = self.ledger.folder
        if isinstance(output, RemotePath):  # what is not uploaded whole does not appear there
            return
        names = (name for task in tasks for name in task.outputs.values())
        for folder in dict.fromkeys((output / name).parent for name in names):
            sweep(folder)

    def push(self, *, at_once: bool = False) -> None:
        """Upload the manifest to a storage system. A failure is a note until the end, `at_once`: then it is raised."""
        if self.ledger.mirror is None:
            return
        try:
            with self._lock:
                self.ledger.mirror.push(at_once=at_once)
        except AnimdiffError as error:
            if at_once:
                raise
            self.note(f"the manifest is not uploaded yet: {error}")

    def render(self, tasks: Sequence[Task]) -> None:
        """Render tasks with the workers of the options. Raises `AnimdiffError` if the batch cannot go on."""
        lines = self.ledger.manifests.latest().values()
        self._threads_before = {line.threads for line in lines if line.state == "done" and line.threads}
        queue = self._queue = TaskQueue(tasks)
        self._stop.on_first = queue.close
        workers = hire(self._options, self.ledger, len(tasks))
        if self._stop.is_asked:
            queue.close()
        try:
            if len(workers) == 1 and isinstance(workers[0], HereWorker):
                self._work(workers[0])
            else:
                self._work_in_threads(workers)
        except KeyboardInterrupt:
            self._stop.is_now = True
        if self._error:
            raise self._error

    def result(self, count: int) -> BatchResult:
        """Count how `count` jobs ended."""
        if locked := self.counts["locked"]:
            self.note(f"another process is still rendering {counted(locked, 'clip')} of this batch")
        ended = {state: self.counts[state] for state in ("done", "skipped", "failed", "locked")}
        left = count - sum(ended.values())
        return BatchResult(**ended, left=left, is_interrupted=self._stop.is_asked and left > 0)

    def _work_in_threads(self, workers: Sequence[Worker]) -> None:
        threads = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)  # returns to Python code, which handles signals
                    if self._stop.is_asked and not self._is_stop_said:
                        self.note(STOPPING)
        except KeyboardInterrupt:
            self._stop.is_now = True
            for worker in workers:
                worker.stop()
            for thread in threads:
                thread.join()

    def _work(self, worker: Worker) -> None:
        """Render tasks until none is left."""
        group = None
        try:
            while not self._queue.is_over():
                if not worker.is_ready():
                    continue
                if not (task := self._queue.take(group)):
                    break
                group = task.group
                outcome = worker.attempt(task, self.write)
                self._settle(task, outcome, worker.name)
                self.push()
                if outcome.is_broken and isinstance(worker, HereWorker):
                    worker = replacement(worker)
        except Exception as error:  # also a bug: the other threads must not wait for this one
            self._error = self._error or error
            self._queue.close()
        finally:
            worker.close()

    def _settle(self, task: Task, outcome: Outcome, worker: str | None) -> None:
        """Count, report and retry."""
        state = "interrupted" if outcome.state == "died" and self._stop.is_now else outcome.state
        if outcome.state == "died":
            self.ledger.record_death(task, worker, None if state == "interrupted" else outcome.failure)
        if state in ("failed", "died"):
            self._fail(task, outcome, worker)
            return
        if state == "locked" and self._queue.pass_over(task):
            return
        if state == "interrupted":
            self.write(InterruptedRecord(job=task.job, worker=worker).record())
        if state == "elsewhere":
            paths = self.ledger.paths(task)
            self.write(SkippedRecord(job=task.job, outputs=paths, config=task.recorded).record())
        if state == "done":
            self._compare_threads(task)
        self._count("skipped" if state == "elsewhere" else state)
        if state != "locked":
            self._queue.finish(task)

    def _compare_threads(self, task: Task) -> None:
        """Say once that clips of a batch were rendered with different numbers of CPU threads."""
        with self._lock:
            threads = self.ledger.manifests.latest()[task.job].threads
            if not threads or not self._threads_before or threads in self._threads_before:
                return
            before = max(self._threads_before)
            self._threads_before.clear()
        self.note(
            f"clips of this batch were rendered with {counted(before, 'CPU thread')}, and now with {threads}: the last"
            f" bits of their pixels depend on it; add `--threads {before}` to a run if they must not"
        )

    def _fail(self, task: Task, outcome: Outcome, worker: str | None) -> None:
        """Report a failure, and try the job again as often as the options say.

        The death of a worker is seldom the fault of its job, so that it is tried a second time at least. After a full
        disk no job is begun: all would fail in the same way.
        """
        assert outcome.failure
        self._failures[task.job] += 1
        allowed = max(self._options.retry, 1 if outcome.state == "died" else 0)
        is_again = self._failures[task.job] <= allowed and not self._stop.is_asked and not outcome.is_disk_full
        failure = outcome.failure
        self.write(
            FailedRecord(
                job=task.job,
                error=failure.message,
                hint=failure.hint,
                code=failure.code,
                worker=worker,
                attempt=task.attempt,
                retry=is_again,
            ).record()
        )
        if is_again:
            self._queue.put_back(task.after(task.attempt))
            return
        self._count("failed")
        if outcome.is_disk_full:
            self.note("the disk is full: no further clip is begun")
        if outcome.is_disk_full or not self._options.keep_going:
            self._queue.close()
        self._queue.finish(task)

    def _count(self, state: str) -> None:
        with self._lock:
            self.counts[state] += 1
