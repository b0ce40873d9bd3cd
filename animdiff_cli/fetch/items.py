"""Items to fetch: expand what the user typed (aliases, groups, references, a preset) into files and folders."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from animdiff_cli import paths
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, refs_in
from animdiff_cli.core.refs import ModelRef, parse_ref, path_hint
from animdiff_cli.core.site_urls import canonical_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.network import Network
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.model_dirs import download_path, ref_download_path
from animdiff_cli.registry.recommend import with_recommended

#: group → kind; the group of kind `base` has a clearer name than its plural
GROUPS: dict[str, Kind] = {("base-models" if kind == "base" else f"{kind}s"): kind for kind in get_args(Kind)}
MAX_GROUP_WORDS = max(group.count("-") for group in GROUPS) + 1  # when typed with spaces


@dataclass(frozen=True, slots=True)
class FetchItem:
    """A file or model folder to fetch."""

    name: str  # alias or reference
    entry: CatalogEntry | None
    sources: tuple[ModelRef, ...]  # in order of preference; empty for bundled weights
    target: Path
    in_folder: bool = False  # `target` is a folder for one file, whose name the source determines


def expand(words: Sequence[str], network: Network) -> tuple[FetchItem, ...]:
    """Expand command-line arguments to items without duplicates.

    Raises UsageError and NotFound, with the closest known name as a hint.
    """
    items = (item for word in join_groups(words) for item in _items(word, network))
    return _unique(items)


def items_for_preset(name: str, network: Network, unnamed: Sequence[str] = ()) -> tuple[FetchItem, ...]:
    """List the items a preset needs: its weights, the weights they recommend, and all their requirements.

    `unnamed` are references to weights that it needs without naming them.
    """
    settings: dict[str, object] = {}
    for layer in with_recommended([load_preset(name).layer()]):
        settings |= layer.values
    named = [ref for key, setting in WEIGHT_SETTINGS.items() for ref in refs_in(setting, settings.get(key))]
    direct = [item for ref in (*named, *unnamed) for item in _items(ref, network, in_preset=True)]
    return _unique(needed for item in direct for needed in _with_requirements(item))


def join_groups(words: Sequence[str]) -> list[str]:
    """Join adjacent words that together name a group.

    >>> join_groups(["motion", "modules", "toonyou"])
    ['motion-modules', 'toonyou']
    """
    joined, at = [], 0
    while at < len(words):
        for length in range(min(MAX_GROUP_WORDS, len(words) - at), 0, -1):
            candidate = "-".join(words[at : at + length])
            if length == 1 or candidate.lower() in GROUPS:
                joined.append(candidate)
                at += length
                break
    return joined


def requirements(entry: CatalogEntry) -> tuple[CatalogEntry, ...]:
    """List the entries that an entry requires, directly and indirectly, without duplicates."""
    found: dict[str, CatalogEntry] = {}
    queue = list(entry.requires)
    while queue:
        required = load_catalog().find(queue.pop(0))
        if required.alias not in found:
            found[required.alias] = required
            queue.extend(required.requires)
    return tuple(found.values())


def item_of(entry: CatalogEntry) -> FetchItem:
    """Return the item of a catalog entry."""
    return FetchItem(entry.alias, entry, tuple(parse_ref(source) for source in entry.sources), download_path(entry))


def _items(word: str, network: Network, *, in_preset: bool = False) -> tuple[FetchItem, ...]:
    if kind := GROUPS.get(word.lower()):
        return tuple(item_of(entry) for entry in load_catalog().of_kind(kind) if entry.sources)
    ref = parse_ref(word)
    if ref.source == "alias":
        return (item_of(_find(ref.target)),)
    if ref.source == "path":
        if in_preset:
            return ()  # a preset may name a local file: nothing to fetch
        hint = None if paths.expanded(word).exists() else path_hint(word)
        raise UsageError(f"`{word}` is a path: nothing to fetch", hint=hint or "use it directly: `--model PATH`")
    ref = canonical_ref(ref, network.hub, network.civitai)
    return (FetchItem(str(ref), None, (ref,), ref_download_path(ref), in_folder=ref.names_one_file),)


def _find(alias: str) -> CatalogEntry:
    catalog = load_catalog()
    if alias in catalog:
        return catalog.find(alias)
    known = [*GROUPS, *(name for entry in catalog.entries for name in (entry.alias, *entry.aliases))]
    hint = did_you_mean(alias, known, otherwise=f"type an alias, `hf:org/repo/file` or a group: {', '.join(GROUPS)}")
    raise NotFound(f"unknown model alias `{alias}`", hint=hint)


def _with_requirements(item: FetchItem) -> Iterator[FetchItem]:
    yield item
    if item.entry:
        yield from (item_of(entry) for entry in requirements(item.entry))


def _unique(items: Iterable[FetchItem]) -> tuple[FetchItem, ...]:
    return tuple({item.target: item for item in items}.values())
