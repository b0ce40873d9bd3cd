"""`animdiff serve`: keep models loaded, and render for other programs over HTTP."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from animdiff_cli import paths
from animdiff_cli.cli.options import DEVICE, MODELS, OUTPUT, SOURCES, EventsOpt, QuietOpt, ThreadsOpt, option
from animdiff_cli.cli.out import print_err, print_out, print_record
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.jobs.serve.server import Running

ACCESS = "Access"
DEFAULT_PORT = 8475


def serve(
    host: Annotated[
        str, option("--host", help="Address to listen on. Default: 127.0.0.1; others need a token.", panel=ACCESS)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        option(
            "--port", help="Port to listen on, or 0 for any free one. Default: 8475.", panel=ACCESS, min=0, max=65535
        ),
    ] = DEFAULT_PORT,
    token: Annotated[
        str | None,
        option(
            "--token",
            help="Token that requests must have. Set `ANIMDIFF_TOKEN`: other users of this machine can see flags.",
            panel=ACCESS,
            envvar="ANIMDIFF_TOKEN",
            metavar="<text>",
        ),
    ] = None,
    allow_path: Annotated[
        list[Path] | None,
        option(
            "--allow-path",
            help="Folder whose files requests may name, as models or clips to continue. Repeatable.",
            panel=ACCESS,
            metavar="<folder>",
        ),
    ] = None,
    queue: Annotated[
        int, option("--queue", help="Number of jobs that may wait. Default: 100.", panel=ACCESS, min=1, max=100_000)
    ] = 100,
    output: Annotated[
        str | None,
        option("--output", "-o", help="Folder of the clips. Default: animdiff-out.", panel=OUTPUT, metavar="<folder>"),
    ] = None,
    keep: Annotated[
        int,
        option("--keep", help="Sets of weights to keep loaded per device. Default: 2.", panel=MODELS, min=1, max=100),
    ] = 2,
    fetch: Annotated[
        bool, option("--fetch", help="Download weights that requests name and that are missing.", panel=SOURCES)
    ] = False,
    device: Annotated[
        list[str] | None,
        option(
            "--device",
            help="auto, cuda, cuda:N, mps or cpu. Repeatable: each device renders one clip at a time.",
            panel=DEVICE,
            metavar="<name>",
        ),
    ] = None,
    threads: ThreadsOpt = None,
    json_: EventsOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Keep models loaded and render for other programs over HTTP. Prints its URL.

    `animdiff generate --via auto` uses it. Ctrl-C finishes the clip that is rendered; a second Ctrl-C does not.
    """
    _require_packages()
    from animdiff_cli.jobs.serve.planning import Limits
    from animdiff_cli.jobs.serve.server import ServerSettings
    from animdiff_cli.jobs.serve.server import serve as run
    from animdiff_cli.storage.outputs import output_location

    folder = output_location(output) if output else paths.output_dir()
    if not isinstance(folder, Path):
        raise UsageError(f"`--output {output}` is not a folder of this machine", hint="name a local folder")
    allowed = tuple(_folder(path) for path in allow_path or [])
    settings = ServerSettings(
        Limits(folder, allowed, fetch),
        host=host,
        port=port,
        token=token,
        devices=tuple(dict.fromkeys(device or ["auto"])),
        keep=keep,
        max_queued=queue,
    )
    watch = print_record(quiet=quiet) if json_ else _ignore if quiet else _print_line
    if not run(settings, ready=lambda running: _print_ready(running, quiet=quiet, as_json=json_), watch=watch):
        sys.stdout.flush()
        os._exit(130)  # the interpreter would wait for the step that is computed


def _require_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "FastAPI and uvicorn are not installed, which `animdiff serve` needs", hint="pip install 'animdiff[serve]'"
        ) from error


def _folder(path: Path) -> Path:
    folder = paths.expanded(path)
    if not folder.is_dir():
        raise UsageError(f"`--allow-path {path}` is not a folder", hint="name the folder that holds the files")
    return folder


def _print_ready(running: "Running", *, quiet: bool, as_json: bool) -> None:
    if not as_json:
        print_out(running.address.url)
    if not quiet and running.is_registered:
        print_err("ready: `animdiff generate --via auto` uses this server")
    elif not quiet:
        print_err(f"ready; `--via auto` uses another server, this one is `--via {running.address.url}`")


def _ignore(record: Mapping[str, Any]) -> None:
    """Print nothing."""


def _print_line(record: Mapping[str, Any]) -> None:
    """Print a line when a job is queued, and when it ends."""
    describe = _LINES.get(record["event"])
    if describe:
        print_err(f"{record['job']} {describe(record)}")


_LINES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "queued": lambda record: f"queued: {record['name']}",
    "done": lambda record: f"done in {record['seconds']:.1f} s: {', '.join(record['outputs'].values())}",
    "failed": lambda record: f"failed: {record['error']}",
    "interrupted": lambda record: "cancelled",
}
