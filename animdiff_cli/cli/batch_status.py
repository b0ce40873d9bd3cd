"""`animdiff batch status`: how far a batch is."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from animdiff_cli.cli.options import GENERAL, JsonOpt
from animdiff_cli.cli.out import print_err, print_json, print_out, print_row
from animdiff_cli.core.text import format_duration

if TYPE_CHECKING:
    from animdiff_cli.jobs.batch.manifest import Line
    from animdiff_cli.jobs.batch.status import BatchStatus, State

SECONDS_PER_LOOK = 2.0
#: states whose clips are listed
LISTED: "tuple[State, ...]" = ("running", "failed", "interrupted")


def status(
    folder: Annotated[
        str, typer.Argument(help="Output folder of a batch, or its manifest.", metavar="<folder>", show_default=False)
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Print changes until all clips have ended.", rich_help_panel=GENERAL)
    ] = False,
    json_: JsonOpt = False,
) -> None:
    """Show how far a batch is: counts, and the clips that are being rendered, failed or were interrupted.

    The counts are of all clips in the manifests of the folder.
    """
    from animdiff_cli.jobs.batch.status import StatusReader

    reader = StatusReader(folder)
    current = reader.read()
    for note in current.notes:
        print_err(f"note: {note}")
    if not watch:
        print_json(_record(current)) if json_ else _print_table(current)
        return
    _watch(reader.read, _print_changes(json_) if json_ or not sys.stdout.isatty() else _redraw())


def _watch(read: "Callable[[], BatchStatus]", show: "Callable[[BatchStatus], None]") -> None:
    while True:
        current = read()
        show(current)
        if current.is_ended:
            return
        time.sleep(SECONDS_PER_LOOK)


def _print_changes(as_json: bool) -> "Callable[[BatchStatus], None]":
    """Return a function that prints the counts when they have changed."""
    last = ""

    def show(current: "BatchStatus") -> None:
        nonlocal last
        if current.summary() == last:
            return
        last = current.summary()
        if as_json:
            print_json(_record(current))
        else:
            print_out(*_head(current))

    return show


def _redraw() -> "Callable[[BatchStatus], None]":
    """Return a function that clears the terminal and prints the table."""
    from rich.console import Console  # slow to import

    console = Console()

    def show(current: "BatchStatus") -> None:
        console.clear()
        _print_table(current)

    return show


def _head(current: "BatchStatus") -> list[str]:
    from animdiff_cli.core.batch_progress import describe_speed

    speed = describe_speed(current.clips_per_hour, current.seconds_left)
    return [current.summary(), *([speed] if speed else [])]


def _print_table(current: "BatchStatus") -> None:
    print_out(*_head(current))
    rows = [(state, line) for state in LISTED for line in current.jobs[state]]
    if rows:
        print_out("", f"{'STATE':<13}{'SINCE':<14}CLIP")
    for state, line in rows:
        age = current.age(line)
        print_row(f"{state:<13}{'' if age is None else format_duration(age):<14}", _clip(line))


def _clip(line: "Line") -> str:
    """Return the clip in words: worker, name, attempt, and what failed."""
    worker = f"worker {line.worker}: " if line.worker and line.state == "started" else ""
    attempt = f", attempt {line.attempt}" if line.attempt > 1 else ""
    return f"{worker}{line.name}{attempt}{f': {line.error.message}' if line.error else ''}"


def _record(current: "BatchStatus") -> dict[str, Any]:
    counts = {state: len(lines) for state, lines in current.jobs.items()}
    keys = {"job", "name", "time", "worker", "attempt", "config", "error"}
    listed: dict[str, Any] = {}
    for state in LISTED:
        listed[state] = [line.model_dump(mode="json", include=keys) for line in current.jobs[state]]
    speed = {"clips_per_hour": current.clips_per_hour, "seconds_left": current.seconds_left}
    return {"clips": sum(counts.values()), "counts": counts, **speed, **listed}
