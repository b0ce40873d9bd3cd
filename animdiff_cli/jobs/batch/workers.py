"""Workers of a batch: this process, or processes of their own."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

from animdiff_cli.core.event_records import EmitRecord
from animdiff_cli.jobs.batch.attempt import attempt
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.manifest import Failure
from animdiff_cli.jobs.batch.renderer import LocalRenderer
from animdiff_cli.jobs.batch.tasks import Outcome, Task
from animdiff_cli.jobs.batch.worker_main import Setup, serve


class Worker(Protocol):
    """Renders one task at a time."""

    name: str | None

    def is_ready(self) -> bool:
        """Return whether the worker can take a task, after waiting a moment if not."""
        ...

    def attempt(self, task: Task, write: EmitRecord) -> Outcome:
        """Render a task and record it. Raises `UsageError` if no job of the batch can be finished."""
        ...

    def stop(self) -> None:
        """Stop at once, from another thread. The attempt that is under way ends as `died`."""
        ...

    def close(self) -> None:
        """End the worker when it has nothing to do."""
        ...


@dataclass(slots=True)
class HereWorker:
    """Renders in this process."""

    name: str | None
    ledger: Ledger
    renderer: LocalRenderer

    def is_ready(self) -> bool:
        """Return True."""
        return True

    def attempt(self, task: Task, write: EmitRecord) -> Outcome:
        """Render a task and record it."""
        return attempt(task, self.ledger, self.renderer, write, self.name)

    def stop(self) -> None:
        """Do nothing: Ctrl-C interrupts this process."""

    def close(self) -> None:
        """Do nothing."""


class ProcessWorker:
    """Renders in a process, which is started for the first task, and again if it has died."""

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self._setup = setup
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._is_stopped = False
        self._lock = threading.Lock()

    def is_ready(self) -> bool:
        """Return True: the process is started for the first task."""
        return True

    def attempt(self, task: Task, write: EmitRecord) -> Outcome:
        """Render a task and record it."""
        try:
            connection = self._started()
            connection.send(task)
            while True:
                is_record, value = connection.recv()
                if not is_record:
                    break
                write(value)
        except (EOFError, OSError):
            return Outcome("died", _describe_death(self._end()))
        if isinstance(value, Exception):
            self._end()
            raise value
        if value.is_broken:
            self._end()
        outcome: Outcome = value
        return outcome

    def stop(self) -> None:
        """Kill the process."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process when it has nothing to do."""
        self._end()

    def _started(self) -> Connection:
        with self._lock:
            if self._is_stopped:
                raise EOFError
            if self._connection is None:
                context = multiprocessing.get_context("spawn")
                self._connection, other = context.Pipe()
                self._process = context.Process(target=serve, args=(self._setup, other), name=self.name)
                with _signals_blocked():
                    self._process.start()
                other.close()
            return self._connection

    def _end(self) -> int | None:
        """Close the connection, at which the process ends, and return its exit code."""
        if self._connection is not None:
            self._connection.close()
        code = None
        if self._process is not None:
            self._process.join()
            code = self._process.exitcode
        with self._lock:
            self._connection = self._process = None
        return code


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start processes that do not get Ctrl-C: a process inherits the signals that are blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _describe_death(code: int | None) -> Failure:
    if code is None or code >= 0:
        return Failure(message="the worker process ended while it rendered", code=6)
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    out_of_memory = -code == getattr(signal, "SIGKILL", 0)
    hint = "memory may have run out: use fewer `--workers`, or render a smaller size" if out_of_memory else None
    return Failure(message=f"the worker process was ended by {name}", hint=hint, code=6)
