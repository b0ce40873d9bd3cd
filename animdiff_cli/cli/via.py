"""`animdiff generate --via`: render with a running server. torch is never imported."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from animdiff_cli.cli.out import print_record
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.cli.render_output import print_clips
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.config.layers import Layer
    from animdiff_cli.jobs.output_paths import OutputPaths

#: parameters of `generate` that decide how this machine renders, and their flags
LOCAL = {
    "from_": "--from",
    "skip_existing": "--skip-existing",
    "compare_exact": "--compare-exact",
    "device": "--device",
    "threads": "--threads",
    "offline": "--offline",
    "fetch": "--fetch or --no-fetch",
    "dry_run": "--dry-run",
    "probe": "--probe",
    "context_show": "--context-show",
}


def refuse_local_flags(ctx: typer.Context) -> None:
    """Raise `UsageError` for a flag that has no effect on a server."""
    for name, flag in LOCAL.items():
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--via and {flag} cannot be combined", hint="use one of them")


def render_on_server(
    server: str,
    layers: "Sequence[Layer]",
    jobs: dict[str, Any],
    *,
    output: str | None,
    formats: Sequence[str],
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Render the clips of `layers` with a server, and print them as a render on this machine does."""
    from animdiff_cli.fetch.network import allows_http
    from animdiff_cli.jobs.output_place import parse_output
    from animdiff_cli.jobs.serve.client import ServerClient, address_of
    from animdiff_cli.jobs.serve.via import plan_via, render_via

    def choose_outputs() -> "OutputPaths":
        from animdiff_cli.jobs.output_paths import choose_output_paths  # numpy loads here, while the server renders

        return choose_output_paths(plan.configs, output, formats, overwrite=overwrite)

    plan = plan_via(layers, **jobs)
    _, wanted = parse_output(output, formats)
    client = ServerClient(address_of(server, token=os.environ.get("ANIMDIFF_TOKEN"), allow_http=allows_http()))
    write = print_record(quiet=quiet) if as_json else None
    with show_progress(quiet=quiet, as_json=as_json) as emit:
        clips = render_via(client, plan, wanted, choose_outputs, emit, write)
        print_clips(clips, len(plan.configs), can_resume=not plan.seeds_drawn, quiet=quiet, as_json=as_json)
