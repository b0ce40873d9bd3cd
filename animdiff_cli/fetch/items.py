"""What the words of a command line stand for: aliases, groups of them, addresses, and what a preset needs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from animdiff_cli.config.presets import load_preset
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.sources import understand
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.model_dirs import download_path, ref_download_path
from animdiff_cli.registry.recommend import with_recommended

#: group → kind; `base` is the one whose plural does not say what it is
GROUPS: dict[str, Kind] = {("base-models" if kind == "base" else f"{kind}s"): kind for kind in get_args(Kind)}
LONGEST_GROUP = max(group.count("-") for group in GROUPS) + 1  # words, when typed with spaces

#: settings of a render that name weights, alone or in a list
WEIGHT_SETTINGS = ("model", "motion_module", "motion_loras", "loras", "domain_adapter", "vae", "embeddings")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to have on this machine: a file, or the folder of a model of several files."""

    name: str  # the alias, or the reference
    entry: CatalogEntry | None
    sources: tuple[ModelRef, ...]  # best first; none for what is bundled
    target: Path  # where it belongs
    in_folder: bool = False  # `target` is a folder for one file, whose name the source tells


def expand(words: Sequence[str], network: Network) -> tuple[Item, ...]:
    """Turn what was typed into items, each once. Raises UsageError and NotFound with the nearest name."""
    items = (item for word in join_groups(words) for item in _items(word, network))
    return _once(items)


def items_for_preset(name: str, network: Network) -> tuple[Item, ...]:
    """List all that a preset needs: its weights, those the weights recommend, and what they require in turn."""
    chosen: dict[str, object] = {}
    for layer in with_recommended([load_preset(name).layer()]):
        chosen |= layer.values
    named = [text for key in WEIGHT_SETTINGS for text in _texts(chosen.get(key))]
    direct = [item for text in named for item in _items(text, network, scaled=True)]
    return _once(needed for item in direct for needed in _with_requirements(item, network))


def join_groups(words: Sequence[str]) -> list[str]:
    """Join neighbouring words that together name a group.

    >>> join_groups(["motion", "modules", "toonyou"])
    ['motion-modules', 'toonyou']
    """
    joined, at = [], 0
    while at < len(words):
        for length in range(min(LONGEST_GROUP, len(words) - at), 0, -1):
            together = "-".join(words[at : at + length])
            if length == 1 or together.lower() in GROUPS:
                joined.append(together)
                at += length
                break
    return joined


def requirements(entry: CatalogEntry) -> tuple[CatalogEntry, ...]:
    """List the entries that an entry is of no use without, and theirs, each once."""
    found: dict[str, CatalogEntry] = {}
    waiting = list(entry.requires)
    while waiting:
        needed = load_catalog().find(waiting.pop(0))
        if needed.alias not in found:
            found[needed.alias] = needed
            waiting.extend(needed.requires)
    return tuple(found.values())


def of_entry(entry: CatalogEntry) -> Item:
    """The item that a catalog entry stands for."""
    return Item(entry.alias, entry, tuple(parse_ref(source) for source in entry.sources), download_path(entry))


def _items(word: str, network: Network, *, scaled: bool = False) -> tuple[Item, ...]:
    if kind := GROUPS.get(word.lower()):
        return tuple(of_entry(entry) for entry in load_catalog().of_kind(kind) if entry.sources)
    ref = parse_ref(word, scaled=scaled)
    if ref.source == "alias":
        return (of_entry(_find(ref.target)),)
    if ref.source == "path":
        if scaled:
            return ()  # a preset may name a file of one's own: nothing to fetch
        raise UsageError(f"`{word}` is a path: there is nothing to fetch", hint="use it as it is: `--model PATH`")
    ref = understand(ref, network)
    return (Item(str(ref), None, (ref,), ref_download_path(ref), in_folder=ref.source != "hf"),)


def _find(alias: str) -> CatalogEntry:
    catalog = load_catalog()
    if alias in catalog:
        return catalog.find(alias)
    known = [*GROUPS, *(name for entry in catalog.entries for name in (entry.alias, *entry.aliases))]
    hint = did_you_mean(alias, known, otherwise=f"type an alias, `hf:org/repo/file` or a group: {', '.join(GROUPS)}")
    raise NotFound(f"unknown model alias `{alias}`", hint=hint)


def _with_requirements(item: Item, network: Network) -> Iterator[Item]:
    yield item
    if item.entry:
        yield from (of_entry(entry) for entry in requirements(item.entry))


def _once(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple({item.target: item for item in items}.values())


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, (list, tuple)) else []
