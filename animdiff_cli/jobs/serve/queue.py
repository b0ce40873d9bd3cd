"""The jobs of a server: a bounded queue, one render thread per device, and what happened to each job.

All state belongs to the event loop. Render threads hand their events to it and read nothing but the cancel flag.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from typing import Any

from animdiff_cli.core.event_records import InterruptedRecord, QueuedRecord, Record, StartedRecord, failed
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.core.prompt_travel import describe_prompt
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.files.atomic import remove
from animdiff_cli.jobs.serve.planning import Planned
from animdiff_cli.jobs.serve.wire import FINISHED, FileRecord, JobRecord, State, error_record

#: finished jobs that can still be looked up
HISTORY = 1000
#: records of a finished job that say nothing any more
_PROGRESS = frozenset(("step", "decoding", "loading"))


class QueueFull(AnimdiffError):
    """The queue has no room; the same request may succeed later."""

    exit_code = 4


class Stopping(AnimdiffError):
    """The server takes no more jobs."""

    exit_code = 4


class Cancelled(BaseException):
    """Raised in a render thread to leave a job; not an `Exception`, so that no handler on the way keeps it."""


@dataclass(eq=False, slots=True)
class Job:
    """One render. Only the event loop changes it."""

    planned: Planned
    settings: Mapping[str, Any]  # as JSON
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = "queued"
    cancel: Flag = field(default_factory=Flag)
    files: tuple[FileRecord, ...] = ()
    error: AnimdiffError | None = None
    folder: Path | None = None  # which the paths of its files are relative to
    _records: list[tuple[int, Record]] = field(default_factory=list)
    _count: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, record: Record) -> None:
        """Append a record and wake those who follow the job."""
        self._count += 1
        self._records.append((self._count, record))
        self._changed.set()
        self._changed = asyncio.Event()

    def finish(self, state: State, record: Record) -> None:
        """End the job. Of its records, those of its progress are dropped."""
        self.state = state
        self.add(record)
        self._records = [(number, kept) for number, kept in self._records if kept["event"] not in _PROGRESS]

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Record]]:
        """Yield every record with its number, those before too, until the job is finished."""
        while True:
            changed = self._changed
            new = [(number, record) for number, record in self._records if number > after]
            for number, record in new:
                yield number, record
                after = number
            if not new:
                if self.state in FINISHED:
                    return
                await changed.wait()

    def file(self, path: str) -> Path | None:
        """Return the file that the job lists under `path`; None if there is none, or if it was removed since."""
        # compared as text: nothing that a request says reaches the file system
        if self.folder is None or all(file.path != path for file in self.files):
            return None
        target = (self.folder / path).resolve()
        return target if target.is_relative_to(self.folder.resolve()) and target.is_file() else None

    def view(self, position: int | None = None) -> JobRecord:
        """Return the job as JSON has it."""
        return JobRecord(
            job=self.id,
            state=self.state,
            position=position,
            created=self.created.isoformat(timespec="seconds"),
            config=self.settings,
            files=self.files,
            error=error_record(self.error) if self.error else None,
        )


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a render thread returns: the last record, and the files below `folder`."""

    record: Record
    files: tuple[FileRecord, ...]
    folder: Path


#: renders a job in the thread of one device and writes its files; `write` takes records from any thread
Render = Callable[[Job, Callable[[Record], None]], Rendered]


class RenderQueue:
    """Takes jobs in order and renders each on the first free device."""

    def __init__(self, renders: Sequence[Render], *, limit: int, watch: Callable[[Record], None]) -> None:
        """Render with one thread for each of `renders`. At most `limit` jobs wait. `watch` gets every record."""
        self.jobs: dict[str, Job] = {}
        self._renders, self._limit, self._watch = renders, limit, watch
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_stopping = False

    @property
    def num_waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Jobs that are rendered."""
        return len(self._running)

    @property
    def is_awaited(self) -> bool:
        """Whether a client has yet to get the files of a job that does not keep them."""
        return any(job.folder and not job.planned.keep for job in self.jobs.values())

    def require_room(self) -> None:
        """Raise `Stopping` or `QueueFull` if no job can be added."""
        if self.is_stopping:
            raise Stopping("the server is stopping", hint="send the request again when it runs again")
        if len(self._waiting) >= self._limit:
            raise QueueFull(f"{len(self._waiting)} jobs wait already", hint="send the request again later")

    def add(self, planned: Planned) -> Job:
        """Queue a job. Raises as `require_room`."""
        self.require_room()
        settings = planned.config.model_dump(mode="json")
        job = Job(planned, settings)
        self.jobs[job.id] = job
        outputs = {format: planned.name + FORMATS[format].suffix for format in planned.formats}
        name = f"{describe_prompt(settings['prompt'])}, seed {planned.config.seed}"
        self._write(job, QueuedRecord(job=job.id, name=name, outputs=outputs, config=settings).record())
        self._waiting.append(job)
        self._wake.set()
        return job

    def view(self, job: Job) -> JobRecord:
        """Return a job as JSON has it, with its place in the queue."""
        return job.view(self._waiting.index(job) if job.state == "queued" else None)

    def cancel(self, job: Job) -> None:
        """Cancel a job: one that waits now, one that runs at its next step. A finished one is forgotten."""
        if job.state == "queued":
            self._waiting.remove(job)
            self._finish(job, "interrupted", InterruptedRecord(job=job.id).record())
        elif job.state == "started":
            job.cancel.set()
        else:
            self._forget(job)

    def stop(self) -> None:
        """Take no more jobs, and cancel those that wait. Running ones go on."""
        self.is_stopping = True
        for job in list(self._waiting):
            self.cancel(job)

    def abandon_running(self) -> None:
        """End the jobs that run without waiting for their next step."""
        for job in self._running:
            job.cancel.set()
            self._finish(job, "interrupted", InterruptedRecord(job=job.id).record())

    async def idle(self) -> None:
        """Wait until no job runs."""
        await self._idle.wait()

    def forget_all(self) -> None:
        """Remove the files of all jobs that do not keep them."""
        for job in list(self.jobs.values()):
            self._forget(job)

    async def work(self) -> None:
        """Render until cancelled."""
        async with asyncio.TaskGroup() as group:
            for render in self._renders:
                group.create_task(self._work_on_device(render))

    async def _work_on_device(self, render: Render) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        try:
            while True:
                while not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                await self._run(self._waiting.popleft(), render, thread)
        finally:
            thread.shutdown(wait=False)

    async def _run(self, job: Job, render: Render, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        job.state = "started"
        self._running.add(job)
        self._idle.clear()
        self._write(job, StartedRecord(job=job.id).record())
        began = time.monotonic()

        def write(record: Record) -> None:
            loop.call_soon_threadsafe(self._write, job, record)

        try:
            done = await loop.run_in_executor(thread, render, job, write)
        except Cancelled:
            self._finish(job, "interrupted", InterruptedRecord(job=job.id).record())
        except Exception as error:
            job.error = error if isinstance(error, AnimdiffError) else _bug(error)
            self._finish(job, "failed", failed(job.id, job.error))
        else:
            job.files, job.folder = done.files, done.folder
            self._finish(job, "done", done.record | {"seconds": round(time.monotonic() - began, 2)})
        finally:
            self._running.discard(job)
            if not self._running:
                self._idle.set()

    def _write(self, job: Job, record: Record) -> None:
        if job.state in FINISHED:
            return  # it was abandoned
        job.add(record)
        self._watch(record)

    def _finish(self, job: Job, state: State, record: Record) -> None:
        if job.state in FINISHED:
            return
        job.finish(state, record)
        self._watch(record)
        finished = [other for other in self.jobs.values() if other.state in FINISHED]
        for other in finished[: max(0, len(finished) - HISTORY)]:
            self._forget(other)

    def _forget(self, job: Job) -> None:
        self.jobs.pop(job.id, None)
        if job.folder and not job.planned.keep:
            remove(job.folder)


def _bug(error: Exception) -> AnimdiffError:
    """Return the error of a job that failed for a reason nobody expected. The traceback is in the log of the server."""
    import logging

    logging.getLogger(__name__).error("a job failed", exc_info=error)
    return AnimdiffError(f"{type(error).__name__}: {error}", hint="the log of the server has the traceback")
