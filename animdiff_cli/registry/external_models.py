"""Catalog models in folders of other programs. They count as local and are never copied."""

from collections.abc import Sequence
from pathlib import Path

from animdiff_cli.core.refs import parse_ref
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.file_facts_cache import cached_sha256
from animdiff_cli.registry.hub_cache import find_in_hub_cache
from animdiff_cli.registry.model_dirs import ModelDir


def find_external(entry: CatalogEntry, model_dirs: Sequence[ModelDir]) -> Path | None:
    """Find an entry's weights in model directories of other programs, in their order, then in the Hub cache.

    A file with the entry's name matches if its size is right, or its hash if no size is known. A file with another
    name matches only if both size and hash are right.
    """
    path = find_in_model_dirs(entry, model_dirs)
    if path is not None:
        return path
    cached = (find_in_hub_cache(parse_ref(source), entry.sha256) for source in entry.sources)
    return next((path for path in cached if path is not None), None)


def find_in_model_dirs(entry: CatalogEntry, model_dirs: Sequence[ModelDir]) -> Path | None:
    """Find an entry's weights in model directories of other programs, without the Hub cache."""
    matches = (_match_in(folder, entry) for folder in model_dirs if entry.sources and not folder.is_own)
    return next((path for path in matches if path is not None), None)


def _match_in(folder: ModelDir, entry: CatalogEntry) -> Path | None:
    names = _file_names(entry)
    same_name = (weights.path for weights in folder.with_file_names(names) if weights.may_be(entry.kind))
    same_size = folder.of_size(entry.bytes) if entry.bytes is not None else ()
    renamed = (weights.path for weights in same_size if weights.may_be(entry.kind))
    found = (path for path in same_name if _matches(path, entry))
    by_content = (path for path in renamed if path.name.lower() not in names and _matches_by_content(path, entry))
    return next((path for candidates in (found, by_content) for path in candidates), None)


def _file_names(entry: CatalogEntry) -> set[str]:
    """Return the entry's file names at all its sources, in lower case."""
    refs = [parse_ref(source) for source in entry.sources]
    return {entry.store_name.lower()} | {Path(ref.file).name.lower() for ref in refs if ref.file}


def _matches(path: Path, entry: CatalogEntry) -> bool:
    """Check a file that has the entry's name: by size if the catalog has it, else by hash, else the name is enough."""
    try:
        if path.is_dir():
            return entry.sha256 is None
        if entry.bytes is not None:
            return path.stat().st_size == entry.bytes
        if entry.sha256 is not None:
            return cached_sha256(path) == entry.sha256
        return not entry.refused_sha256 or not cached_sha256(path).startswith(entry.refused_sha256)
    except OSError:  # another program has just moved the file
        return False


def _matches_by_content(path: Path, entry: CatalogEntry) -> bool:
    """Check a renamed file of the right size by its hash."""
    try:
        return entry.sha256 is not None and cached_sha256(path) == entry.sha256
    except OSError:
        return False
