"""Bring weights here: what `animdiff fetch` does, callable from Python."""

from collections.abc import Iterator, Sequence

from animdiff_cli import paths
from animdiff_cli.core.events import Downloading, Emit, Note, ignore
from animdiff_cli.errors import UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.disk import require_space
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import Item, expand, items_for_preset, requirements
from animdiff_cli.fetch.plan import Plan, Planned, make_dry_plan, make_plan
from animdiff_cli.fetch.presence import Fetched
from animdiff_cli.registry.store import is_local

__all__ = ["Fetched", "Plan", "Planned", "fetch", "plan_fetch"]


def fetch(
    refs: Sequence[str] = (), *, preset: str | None = None, offline: bool = False, emit: Emit = ignore
) -> Iterator[Fetched]:
    """Bring everything that was named here, verified; yields each as it is complete, in the order of their names.

    `refs` are aliases, groups such as `motion-modules`, or addresses; `preset` adds all that a preset needs. Before
    the first byte everything is found and the disk is checked. Raises `AnimdiffError`.
    """
    network = Network.from_environment(offline=offline)
    plan = make_plan(_items(refs, preset, network), network)
    require_space(plan.needed, plan.free, paths.models_dir())
    if plan.missing:
        known = None if plan.unknown else sum(planned.size or 0 for planned in plan.missing)
        emit(Downloading(sum(len(planned.offer.files) for planned in plan.missing if planned.offer), known))
    for planned in plan.items:
        yield planned.present or _bring(planned, network, emit)
    for note in _still_needed(plan):
        emit(Note(note))


def plan_fetch(refs: Sequence[str] = (), *, preset: str | None = None, offline: bool = False) -> Plan:
    """Say what `fetch` would do: sizes, what is here, what is free. Downloads nothing and needs no network.

    A site is asked only for sizes that the catalog does not know.
    """
    network = Network.from_environment(offline=offline)
    return make_dry_plan(_items(refs, preset, network), network)


def _items(refs: Sequence[str], preset: str | None, network: Network) -> list[Item]:
    if not refs and preset is None:
        raise UsageError("nothing to fetch was named", hint="try `animdiff fetch --dry-run motion-modules`")
    items = [*expand(refs, network), *(items_for_preset(preset, network) if preset else ())]
    return list({item.target: item for item in items}.values())


def _bring(planned: Planned, network: Network, emit: Emit) -> Fetched:
    assert planned.offer is not None  # what is not present has one
    return install_item(planned.item, planned.offer, network, emit)


def _still_needed(plan: Plan) -> list[str]:
    """Name what the fetched weights are of no use without and that is not here either."""
    entries = [planned.item.entry for planned in plan.items if planned.item.entry]
    needed = {entry.alias: entry for fetched in entries for entry in requirements(fetched)}
    absent = [alias for alias, entry in needed.items() if not is_local(entry)]
    return [f"to use it you also need `{alias}`: `animdiff fetch {alias}`" for alias in absent]
