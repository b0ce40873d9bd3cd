"""Weights of a render that are not on this machine: fetched on demand, reported, or refused."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, refs_in
from animdiff_cli.core.events import Emit
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import NotFound
from animdiff_cli.fetch.items import requirements
from animdiff_cli.fetch.network import is_offline
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.store import is_local, locate

#: receives the missing weights; returns whether they are on this machine now
OnMissing = Callable[[Sequence[str]], bool]


def find_missing(settings: Mapping[str, object]) -> list[str]:
    """List the weights that a render needs and that can be fetched, as `animdiff fetch` accepts them.

    Requirements of a catalog entry count where the render names nothing else of that kind. Raises `NotFound` for what
    cannot be fetched (an unknown alias, a path that does not exist) and `UsageError` for an alias of another kind.
    """
    named = [(setting.kinds, ref) for key, setting in WEIGHT_SETTINGS.items() for ref in refs_of(settings, key)]
    missing = [str(ref) for kinds, ref in named if not _is_here(ref, kinds)]
    aliases = (ref.target for _, ref in named if ref.source == "alias")
    entries = [load_catalog().find(alias) for alias in aliases if alias in load_catalog()]
    required = [entry for named_entry in entries for entry in requirements(named_entry)]
    missing += [entry.alias for entry in required if not _has_other(entry, settings) and not is_local(entry)]
    return list(dict.fromkeys(missing))


def refs_of(settings: Mapping[str, object], key: str) -> list[ModelRef]:
    """Parse the references of one setting, without their scales."""
    return [parse_ref(text) for text in refs_in(WEIGHT_SETTINGS[key], settings.get(key))]


def refuse_missing(names: Sequence[str]) -> NoReturn:
    """Raise `NotFound` naming everything to fetch."""
    quoted = [f"`{name}`" for name in names]
    listed = " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
    raise NotFound(
        f"{listed} {'are' if len(names) > 1 else 'is'} not on this machine",
        hint=f"run `animdiff fetch {' '.join(names)}`",
    )


def fetch_missing(emit: Emit, *, allowed: bool = True) -> OnMissing:
    """Return a handler that fetches missing weights, or refuses if not `allowed` or the environment is offline."""

    def fetch_all(names: Sequence[str]) -> bool:
        if not allowed or is_offline():
            refuse_missing(names)
        from animdiff_cli.jobs.fetch import fetch  # with what downloads

        for _ in fetch(names, emit=emit):
            pass
        return True

    return fetch_all


def _is_here(ref: ModelRef, kinds: tuple[Kind, ...]) -> bool:
    try:
        locate(ref, *kinds)
    except NotFound:
        if not _can_be_fetched(ref):
            raise
        return False
    return True


def _can_be_fetched(ref: ModelRef) -> bool:
    if ref.source == "alias":
        return ref.target in load_catalog() and bool(load_catalog().find(ref.target).sources)
    return ref.source != "path"


def _has_other(entry: CatalogEntry, settings: Mapping[str, object]) -> bool:
    """True if the render names weights of the entry's kind, these or others."""
    return any(entry.kind in setting.kinds and bool(settings.get(key)) for key, setting in WEIGHT_SETTINGS.items())
