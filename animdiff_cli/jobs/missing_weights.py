"""Weights a render names that are not on this machine: fetched on demand, told, or refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from animdiff_cli.core.events import Emit
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import NotFound
from animdiff_cli.fetch.items import requirements
from animdiff_cli.fetch.network import Network
from animdiff_cli.jobs.fetch import fetch
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.store import is_local, locate

#: settings that name weights, and the kind each names
KINDS: Mapping[str, Kind] = {
    "model": "base",
    "motion_module": "motion-module",
    "vae": "vae",
    "loras": "lora",
    "domain_adapter": "domain-adapter",
    "motion_loras": "motion-lora",
    "embeddings": "embedding",
}
#: settings whose references may end in @scale
SCALED = ("loras", "domain_adapter", "motion_loras")

#: told what is absent; says whether it is here now
OnAbsent = Callable[[Sequence[str]], bool]


def absent_weights(settings: Mapping[str, object]) -> list[str]:
    """List what a render needs and what could be fetched, as `animdiff fetch` takes it.

    What an entry requires counts where the render names nothing else of that kind. Raises `NotFound` for what no
    fetching would help: an unknown alias, a path that leads nowhere; `UsageError` for an alias of another kind.
    """
    named = [(setting, ref) for setting in KINDS for ref in named_refs(settings, setting)]
    absent = [str(ref) for setting, ref in named if not _is_here(ref, KINDS[setting])]
    aliases = (ref.target for _, ref in named if ref.source == "alias")
    entries = [load_catalog().find(alias) for alias in aliases if alias in load_catalog()]
    required = [entry for named_entry in entries for entry in requirements(named_entry)]
    absent += [entry.alias for entry in required if not _has_other(entry, settings) and not is_local(entry)]
    return list(dict.fromkeys(absent))


def named_refs(settings: Mapping[str, object], setting: str) -> list[ModelRef]:
    """Read what a setting names, scales left out."""
    value = settings.get(setting)
    texts = value if isinstance(value, (list, tuple)) else [value]
    refs = (parse_ref(text, scaled=setting in SCALED) for text in texts if isinstance(text, str))
    return [replace(ref, scale=None) for ref in refs]


def refuse_absent(names: Sequence[str]) -> NoReturn:
    """Raise `NotFound` that names everything to fetch."""
    quoted = [f"`{name}`" for name in names]
    listed = " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
    raise NotFound(
        f"{listed} {'are' if len(names) > 1 else 'is'} not on this machine",
        hint=f"run `animdiff fetch {' '.join(names)}`",
    )


def fetch_absent(emit: Emit, *, allowed: bool = True) -> OnAbsent:
    """Answer absence by fetching, or by refusing where that is not `allowed` or the environment says offline."""

    def bring(names: Sequence[str]) -> bool:
        if not allowed or Network.from_environment().offline:
            refuse_absent(names)
        for _ in fetch(names, emit=emit):
            pass
        return True

    return bring


def _is_here(ref: ModelRef, kind: Kind) -> bool:
    try:
        locate(ref, kind)
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
    """Tell whether a render names weights of an entry's kind, be they these or others."""
    return any(kind == entry.kind and bool(settings.get(setting)) for setting, kind in KINDS.items())
