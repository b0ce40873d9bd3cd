"""The worker of a batch on a node of a Ray cluster. This file imports nothing heavy: see `worker_main`."""

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.core.stand_ins import hide_torchvision
from animdiff_cli.files.threads import prepare_threads

if TYPE_CHECKING:
    from animdiff_cli.core.formats import Format
    from animdiff_cli.jobs.batch.tasks import Task


@dataclass(frozen=True, slots=True)
class Rendered:
    """A clip that a node has rendered, with the content of its files."""

    recipe: dict[str, Any]
    notes: tuple[str, ...]
    seconds: float
    files: "Mapping[Format, Mapping[str, bytes]]"  # by name in a folder of frames, or by an empty name
    threads: int | None


class RenderActor:
    """Renders tasks on its node and keeps their weights loaded. Files are sent back: nodes need no common disk."""

    def __init__(self, threads: int | None) -> None:
        """Choose the CPU threads. Nothing is imported before the first task."""
        self._threads = prepare_threads(threads)
        hide_torchvision()
        self._renderer: Any = None

    def ready(self) -> bool:
        """Answer when the actor runs."""
        return True

    def render(self, task: "Task") -> Iterator[object]:
        """Yield the events of a render, then a `Rendered` or a `RenderError`."""
        messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        thread = threading.Thread(target=self._render, args=(task, messages), daemon=True)
        thread.start()
        while True:
            message = messages.get()
            yield message
            if isinstance(message, (Rendered, Exception)):
                thread.join()
                return

    def _render(self, task: "Task", messages: "queue.SimpleQueue[object]") -> None:
        from animdiff_cli.core.events import Event, Writing, Written
        from animdiff_cli.files.os_errors import temporary_folder
        from animdiff_cli.jobs.batch.failures import RenderError, describe, is_sticky
        from animdiff_cli.jobs.batch.renderer import LocalRenderer

        def emit(event: Event) -> None:
            if not isinstance(event, (Writing, Written)):  # of the temporary folder
                messages.put(event)

        try:
            self._renderer = self._renderer or LocalRenderer("auto", self._threads)
            with temporary_folder({}) as folder:
                paths = {format: folder / format / Path(name).name for format, name in task.outputs.items()}
                clip = self._renderer.render(task, paths, emit)
                files = {format: _content(path) for format, path in paths.items()}
            messages.put(Rendered(clip.recipe, clip.notes, clip.seconds, files, self._renderer.threads))
        except Exception as error:
            messages.put(RenderError(describe(error), is_broken=is_sticky(error)))


def _content(path: Path) -> dict[str, bytes]:
    if not path.is_dir():
        return {"": path.read_bytes()}
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
