"""Weights that a render names and that are not on this machine: list, confirm and download them."""

import sys
from typing import TYPE_CHECKING, Any

import typer

from animdiff_cli.cli.out import print_err
from animdiff_cli.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animdiff_cli.jobs.missing_weights import OnMissing


def on_missing_weights(*, allowed: bool, dry_run: bool, ask: bool, quiet: bool, as_json: bool) -> "OnMissing":
    """Return the handler of missing weights: a dry run reports them, otherwise they are fetched or refused.

    `ask`: ask before fetching, because an untrusted recipe names the weights.
    """

    def handle(names: "Sequence[str]") -> bool:
        from animdiff_cli.cli.downloads import download_progress
        from animdiff_cli.jobs.missing_weights import fetch_missing

        if dry_run and allowed:
            return False
        if ask and allowed:
            _confirm_fetch(names, can_ask=not as_json and sys.stdin.isatty() and sys.stderr.isatty())
        with download_progress(quiet=quiet) as emit:
            return fetch_missing(emit, allowed=allowed)(names)

    return handle


def _confirm_fetch(names: "Sequence[str]", *, can_ask: bool) -> None:
    """Ask whether to fetch what a recipe names. Raises `NotFound` after a no, or if nobody can be asked."""
    if can_ask:
        print_err("the recipe names weights that are not on this machine:")
        for line in fetch_lines(missing_sizes(names, online=False)):
            print_err(f"  {line}")
        if typer.confirm("download them?", err=True):
            return
    raise NotFound(
        f"the recipe names weights that are not on this machine: {', '.join(f'`{name}`' for name in names)}",
        hint="to download them, add `--fetch`",
    )


def missing_sizes(names: "Sequence[str]", *, online: bool) -> list[dict[str, Any]]:
    """List weights with their sizes, where known."""
    if not names:
        return []
    from animdiff_cli.jobs.fetch import plan_fetch

    return [
        {"ref": planned.item.name, "bytes": planned.size} for planned in plan_fetch(names, offline=not online).items
    ]


def fetch_lines(sizes: list[dict[str, Any]]) -> list[str]:
    """Describe each weight with its size, one line each."""
    from animdiff_cli.fetch.disk import format_bytes

    return [
        f"{item['ref']}, {'of unknown size' if item['bytes'] is None else format_bytes(item['bytes'])}"
        for item in sizes
    ]
