"""Workers of a batch on a Ray cluster. What they render is written and recorded here, so that nodes share no disk."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animdiff_cli.core.event_records import EmitRecord
from animdiff_cli.core.events import Emit, Writing, Written
from animdiff_cli.core.formats import Format
from animdiff_cli.jobs.batch.attempt import attempt
from animdiff_cli.jobs.batch.failures import WorkerLost
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.manifest import Failure
from animdiff_cli.jobs.batch.ray_actor import RenderActor, Rendered
from animdiff_cli.jobs.batch.ray_cluster import load_ray
from animdiff_cli.jobs.batch.tasks import Outcome, Task
from animdiff_cli.jobs.render import FinishedClip
from animdiff_cli.outputs.store import store_output
from animdiff_cli.storage.location import Location
from animdiff_cli.storage.objects import size_of

WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Room:
    """How many workers a cluster has room for, and what each of them takes."""

    workers: int
    gpus: int  # of each worker
    cpus: int
    threads: int | None  # CPU threads of each worker


def room(threads: int | None) -> Room:
    """Return one worker per GPU of the cluster; without GPUs, one per node, or as many as have `threads` cores."""
    ray = load_ray()

    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        return Room(gpus, 1, threads or 1, threads)
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cpus = threads or min((count for count in nodes if count), default=1)
    return Room(max(1, sum(count // cpus for count in nodes)), 0, cpus, cpus)


class RayWorker:
    """Renders on a node of the cluster, in an actor that is created again if its node is lost."""

    def __init__(self, name: str, ledger: Ledger, taken: Room) -> None:
        self.name: str | None = name
        self.device = "auto"
        self.threads: int | None = None
        self._ledger = ledger
        self._room = taken
        self._actor: Any = None
        self._ready: Any = None
        self._is_stopped = False

    def is_ready(self) -> bool:
        """Return whether the actor runs. Waits a second for it; without room in the cluster it may never run."""
        ray = load_ray()

        if self._is_stopped:
            return False
        if self._actor is None:
            remote = ray.remote(num_cpus=self._room.cpus, num_gpus=self._room.gpus)(RenderActor)
            self._actor = remote.remote(self._room.threads)
            self._ready = self._actor.ready.remote()
        done, _ = ray.wait([self._ready], timeout=WAIT_S)
        if not done:
            return False
        try:
            ray.get(self._ready)
        except ray.exceptions.RayError:  # its node was lost
            self._forget()
            time.sleep(WAIT_S)
            return False
        return True

    def attempt(self, task: Task, write: EmitRecord) -> Outcome:
        """Render a task and record it."""
        outcome = attempt(task, self._ledger, self, write, self.name)
        if outcome.is_broken or outcome.state == "died":
            self._forget()
        return outcome

    def render(self, task: Task, files: Mapping[Format, Location], emit: Emit) -> FinishedClip:
        """Render a task on the node, and write its files here, replacing any. Raises `WorkerLost`, `RenderError`."""
        ray = load_ray()

        actor = self._actor
        if actor is None:  # stopped
            raise WorkerLost(_lost("stopped"))
        try:
            for reference in actor.render.options(num_returns="streaming").remote(task):
                message = ray.get(reference)
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, Rendered):
                    break
                emit(message)
            else:
                raise WorkerLost(_lost("it sent no clip"))
        except ray.exceptions.RayError as error:
            raise WorkerLost(_lost(type(error).__name__)) from error
        self.threads = message.threads
        written = {format: _write(path, format, message.files[format], emit) for format, path in files.items()}
        return FinishedClip(message.recipe, written, message.seconds, message.notes)

    def stop(self) -> None:
        """Kill the actor, from another thread."""
        self._is_stopped = True
        self._forget()

    def close(self) -> None:
        """Give the room of the actor back."""
        self._forget()

    def _forget(self) -> None:
        ray = load_ray()

        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)


def _lost(why: str) -> Failure:
    return Failure(message=f"the worker or its node was lost ({why})", hint="see `ray status`", code=4)


def _write(path: Location, format: Format, content: Mapping[str, bytes], emit: Emit) -> Location:
    def write(target: Path) -> None:
        if "" in content:
            target.write_bytes(content[""])
            return
        target.mkdir()
        for name, data in content.items():
            (target / name).write_bytes(data)

    emit(Writing(path))
    written = store_output(path, format, write, overwrite=True)
    emit(Written(written, size_of(written)))
    return written
