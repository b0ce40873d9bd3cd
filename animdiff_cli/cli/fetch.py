"""`animdiff fetch`: download and verify weights."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import SOURCES, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_err, print_json, print_paths, print_row

if TYPE_CHECKING:
    from animdiff_cli.jobs.fetch import Fetched, Plan, Planned


def fetch(
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Aliases, groups such as motion-modules, `hf:org/repo/file`, `civitai:model@version` or URLs.",
            show_default=False,
            metavar="REF...",
            autocompletion=complete.fetchable,
        ),
    ] = None,
    all_for: Annotated[
        str | None,
        typer.Option(
            "--all-for",
            help="Fetch all weights a preset needs.",
            rich_help_panel=SOURCES,
            show_default=False,
            metavar="<preset>",
            autocompletion=complete.presets,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List what would be downloaded, with sizes.", rich_help_panel=SOURCES),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only files on this machine.", rich_help_panel=SOURCES)
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Download weights, verify them and print their paths.

    Interrupted downloads resume. Files that are already present are not downloaded again.
    """
    from animdiff_cli.jobs.fetch import fetch as fetch_weights
    from animdiff_cli.jobs.fetch import plan_fetch

    if dry_run:
        _print_plan(plan_fetch(refs or [], preset=all_for, offline=offline), as_json=json_, quiet=quiet)
        return
    from animdiff_cli.cli.downloads import download_progress

    complete: list[Fetched] = []
    try:
        with download_progress(quiet=quiet) as emit:
            for fetched in fetch_weights(refs or [], preset=all_for, offline=offline, emit=emit):
                complete.append(fetched)
    finally:
        # after the progress bars are gone, as stdout may be the same terminal; also after a failure
        for fetched in complete:
            print_json(_record(fetched)) if json_ else print_paths(fetched.path)


def _record(fetched: "Fetched") -> dict[str, Any]:
    record = {
        "ref": fetched.name,
        "path": str(fetched.path),
        "sha256": fetched.sha256,
        "bytes": fetched.bytes,
        "cached": fetched.cached,
    }
    return record | ({"files": dict(fetched.files)} if fetched.files else {})


def _print_plan(plan: "Plan", *, as_json: bool, quiet: bool) -> None:
    """Print one line per item, then the totals."""
    from animdiff_cli.fetch.disk import format_bytes

    if as_json:
        items = [
            {"ref": planned.item.name, "path": str(planned.item.target), "bytes": planned.size, **_state(planned)}
            for planned in plan.items
        ]
        print_json({"items": items, "bytes": plan.needed, "unknown": plan.unknown, "free": plan.free})
        return
    width = max(len(planned.item.name) for planned in plan.items)
    for planned in plan.items:
        size = "size unknown" if planned.size is None else format_bytes(planned.size)
        print_row(f"{planned.item.name:<{width}}  {size:>12}  ", _status(planned))
    if quiet:
        return
    for note in plan.notes:
        print_err(f"note: {note}")
    needed, unknown = format_bytes(plan.needed), f", and {plan.unknown} of unknown size" if plan.unknown else ""
    print_err(f"{len(plan.missing)} to fetch: {needed}{unknown}; {format_bytes(plan.free)} free on the disk")
    if plan.needed > plan.free:
        print_err("note: not enough space: choose another disk with `export ANIMDIFF_MODELS=…`")


def _state(planned: "Planned") -> dict[str, Any]:
    return {"cached": planned.present is not None, "waiting": planned.resumable if planned.present is None else 0}


def _status(planned: "Planned") -> str:
    from animdiff_cli.fetch.disk import format_bytes

    if planned.present is not None:
        return "here"
    resumed = f"resumes at {format_bytes(planned.resumable)}, " if planned.resumable else ""
    source, at, revision = str(planned.item.sources[0]).partition("@")
    return f"{resumed}from {source}{at}{revision[:8]}"
