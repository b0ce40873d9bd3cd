"""What a worker is told and what it answers. Everything can be sent to another process or machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from animdiff_cli.core.formats import Format
from animdiff_cli.jobs.batch.manifest import Failure, Line, State


@dataclass(frozen=True, slots=True)
class Task:
    """A job to render."""

    job: str  # fingerprint
    name: str
    config: Mapping[str, Any]  # a whole `GenerateConfig` as JSON
    outputs: Mapping[Format, str]  # relative to the output folder, with `/`
    group: int  # tasks of one group have the same weights
    recorded: Mapping[str, Any]  # the settings that manifest and events show, as in a recipe
    attempt: int = 1

    def after(self, attempt: int) -> "Task":
        """Return the task for the next attempt."""
        return replace(self, attempt=attempt + 1)

    def line(self, state: State, worker: str | None, **more: Any) -> Line:
        """Return the line of the manifest for a state of this task."""
        return Line(
            job=self.job,
            state=state,
            name=self.name,
            worker=worker,
            attempt=self.attempt,
            config=self.recorded,
            **more,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    `elsewhere`: another process has rendered the clip. `locked`: another process is rendering it. `died`: the worker
    ended while it rendered, and the manifest does not say so yet.
    """

    state: Literal["done", "failed", "interrupted", "elsewhere", "locked", "died"]
    failure: Failure | None = None
    is_broken: bool = False  # the worker cannot render anything else: its GPU context is lost
    is_disk_full: bool = False  # the files of the other jobs have no room either
