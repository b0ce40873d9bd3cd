"""`animdiff fetch`: names in, verified files out."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from animdiff_cli.cli.downloads import watching_downloads
from animdiff_cli.cli.options import SOURCES, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json

if TYPE_CHECKING:
    from animdiff_cli.jobs.fetch import Fetched, Plan, Planned


def fetch(
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Aliases, groups such as motion-modules, `hf:org/repo/file`, `civitai:model@version` or addresses.",
            show_default=False,
            metavar="REF...",
        ),
    ] = None,
    all_for: Annotated[
        str | None,
        typer.Option(
            "--all-for",
            help="All that a preset needs.",
            rich_help_panel=SOURCES,
            show_default=False,
            metavar="<preset>",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched and how large it is.", rich_help_panel=SOURCES)
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what is on this machine.", rich_help_panel=SOURCES)
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Download weights and verify them. Prints the path of each.

    What was cut short goes on where it stopped; what is here already is not fetched again.
    """
    from animdiff_cli.jobs.fetch import fetch as bring
    from animdiff_cli.jobs.fetch import plan_fetch

    if dry_run:
        _tell(plan_fetch(refs or [], preset=all_for, offline=offline), as_json=json_, quiet=quiet)
        return
    arrived: list[Fetched] = []
    try:
        with watching_downloads(quiet=quiet or json_) as emit:
            for fetched in bring(refs or [], preset=all_for, offline=offline, emit=emit):
                arrived.append(fetched)
    finally:
        # after the bars are gone: both may share one terminal, and what did arrive is worth telling in any case
        for fetched in arrived:
            print_json(_record(fetched)) if json_ else print(fetched.path, flush=True)


def _record(fetched: "Fetched") -> dict[str, Any]:
    record = {
        "ref": fetched.name,
        "path": str(fetched.path),
        "sha256": fetched.sha256,
        "bytes": fetched.bytes,
        "cached": fetched.cached,
    }
    return record | ({"files": dict(fetched.files)} if fetched.files else {})


def _tell(plan: "Plan", *, as_json: bool, quiet: bool) -> None:
    """Print one line per item, then what it comes to."""
    from animdiff_cli.cli.downloads import report
    from animdiff_cli.fetch.disk import in_words

    if as_json:
        items = [
            {"ref": planned.item.name, "path": str(planned.item.target), "bytes": planned.size, **_state(planned)}
            for planned in plan.items
        ]
        print_json({"items": items, "bytes": plan.needed, "unknown": plan.unknown, "free": plan.free})
        return
    width = max(len(planned.item.name) for planned in plan.items)
    for planned in plan.items:
        size = "size unknown" if planned.size is None else in_words(planned.size)
        print(f"{planned.item.name:<{width}}  {size:>12}  {_words(planned)}".rstrip())
    if quiet:
        return
    for note in plan.notes:
        report(f"note: {note}")
    unknown = f", and {plan.unknown} of unknown size" if plan.unknown else ""
    report(f"{len(plan.missing)} to fetch: {in_words(plan.needed)}{unknown}; {in_words(plan.free)} free on the disk")
    if plan.needed > plan.free:
        report("note: that does not fit; choose another disk with `export ANIMDIFF_MODELS=…`")


def _state(planned: "Planned") -> dict[str, Any]:
    return {"cached": planned.present is not None, "waiting": planned.waiting if planned.present is None else 0}


def _words(planned: "Planned") -> str:
    from animdiff_cli.fetch.disk import in_words

    if planned.present is not None:
        return "here"
    begun = f"{in_words(planned.waiting)} of it here, " if planned.waiting else ""
    source, at, revision = str(planned.item.sources[0]).partition("@")
    return f"{begun}from {source}{at}{revision[:8]}"
