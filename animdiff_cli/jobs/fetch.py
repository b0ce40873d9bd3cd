"""The Python API of `animdiff fetch`: download and verify weights."""

from collections.abc import Iterator, Sequence

from animdiff_cli import paths
from animdiff_cli.core.events import Downloading, Emit, Note, ignore
from animdiff_cli.errors import UsageError
from animdiff_cli.fetch.disk import require_space
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import FetchItem, expand, items_for_preset, requirements
from animdiff_cli.fetch.local import Fetched
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.plan import Plan, Planned, make_dry_plan, make_plan
from animdiff_cli.jobs.preset_weights import unnamed_weights
from animdiff_cli.registry.store import is_local

__all__ = ["Fetched", "Plan", "Planned", "fetch", "fetch_weights", "plan_fetch"]


def fetch_weights(*refs: str, preset: str | None = None, offline: bool = False, emit: Emit = ignore) -> list[Fetched]:
    """Download and verify weights; those already on this machine are only verified.

    Args:
        refs: Aliases, groups such as `motion-modules`, `hf:org/repo/file`, `civitai:model@version` or https URLs.
        preset: Also fetch all weights that this preset needs.
        offline: Do not use the network.
        emit: Called with every progress event of `animdiff_cli.core.events`.

    Returns:
        One `Fetched` per file or folder, in the order given, with `name`, `path`, `sha256`, `bytes` and `cached`.

    Raises:
        AnimdiffError: `NotFound` for unknown weights, `NetworkError` for a failed download, `IntegrityError` for a
            wrong hash, `UsageError` if nothing is named or disk space is short.

    """
    return list(fetch(refs, preset=preset, offline=offline, emit=emit))


def fetch(
    refs: Sequence[str] = (), *, preset: str | None = None, offline: bool = False, emit: Emit = ignore
) -> Iterator[Fetched]:
    """Download and verify weights. Yields each item when it is complete, in the order given.

    `refs` are aliases, groups such as `motion-modules`, or references; `preset` adds all weights a preset needs. Finds
    all items and checks the free disk space before the first download. Raises `AnimdiffError`.
    """
    network = Network.from_environment(offline=offline)
    plan = make_plan(_items(refs, preset, network), network)
    require_space(plan.needed, plan.free, paths.models_dir())
    if plan.missing:
        total = None if plan.unknown else sum(planned.size or 0 for planned in plan.missing)
        emit(Downloading(sum(len(planned.resolved.files) for planned in plan.missing if planned.resolved), total))
    for planned in plan.items:
        yield planned.present or _install(planned, network, emit)
    for note in _missing_requirements(plan):
        emit(Note(note))


def plan_fetch(refs: Sequence[str] = (), *, preset: str | None = None, offline: bool = False) -> Plan:
    """Return what `fetch` would do: sizes, local copies, free disk space. Downloads nothing.

    Requests only sizes that the catalog lacks; works without a network.
    """
    network = Network.from_environment(offline=offline)
    return make_dry_plan(_items(refs, preset, network), network)


def _items(refs: Sequence[str], preset: str | None, network: Network) -> list[FetchItem]:
    if not refs and preset is None:
        raise UsageError(
            "nothing to fetch: no reference was given", hint="try `animdiff fetch --dry-run motion-modules`"
        )
    items = [*expand(refs, network)]
    if preset:
        items += items_for_preset(preset, network, unnamed_weights(preset))
    if not items:
        raise UsageError(
            f"preset `{preset}` names no weights", hint="name some: `animdiff fetch --dry-run toonyou mm-v3`"
        )
    return list({item.target: item for item in items}.values())


def _install(planned: Planned, network: Network, emit: Emit) -> Fetched:
    assert planned.resolved is not None  # `make_plan` resolves every missing item
    return install_item(planned.item, planned.resolved, network, emit)


def _missing_requirements(plan: Plan) -> list[str]:
    """Return a note for each entry that the fetched weights require and that is not on this machine."""
    entries = [planned.item.entry for planned in plan.items if planned.item.entry]
    required = {entry.alias: entry for fetched in entries for entry in requirements(fetched)}
    missing = [alias for alias, entry in required.items() if not is_local(entry)]
    return [f"to use it you also need `{alias}`: `animdiff fetch {alias}`" for alias in missing]
