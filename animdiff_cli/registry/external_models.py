"""Weights of the catalog in folders of other programs: there they count as here, and are never copied."""

from collections.abc import Sequence
from pathlib import Path

from animdiff_cli.core.refs import parse_ref
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.file_facts_cache import remembered_sha256
from animdiff_cli.registry.hubcache import in_hub_cache
from animdiff_cli.registry.model_dirs import ModelDir


def find_elsewhere(entry: CatalogEntry, model_dirs: Sequence[ModelDir]) -> Path | None:
    """Find an entry's weights on shelves of other programs, in their order, then in the Hub cache.

    A file of the entry's name is taken if it has the right size, or the right hash where no size is known. One of
    another name is taken for the entry only if both size and hash are the entry's.
    """
    on_shelf = find_on_shelves(entry, model_dirs)
    if on_shelf is not None:
        return on_shelf
    cached = (in_hub_cache(parse_ref(source), entry.sha256) for source in entry.sources)
    return next((path for path in cached if path is not None), None)


def find_on_shelves(entry: CatalogEntry, model_dirs: Sequence[ModelDir]) -> Path | None:
    """Find an entry's weights on shelves of other programs alone."""
    on_shelves = (_on_shelf(shelf, entry) for shelf in model_dirs if entry.sources and not shelf.is_own)
    return next((path for path in on_shelves if path is not None), None)


def _on_shelf(shelf: ModelDir, entry: CatalogEntry) -> Path | None:
    paths = [found.path for found in shelf.found if found.may_be(entry.kind)]
    names = _names(entry)
    named_so = [path for path in paths if path.name.lower() in names]
    others = [path for path in paths if path.name.lower() not in names]
    named = (path for path in named_so if _is_it(path, entry))
    renamed = (path for path in others if _is_it_by_its_bytes(path, entry))
    return next((path for found in (named, renamed) for path in found), None)


def _names(entry: CatalogEntry) -> set[str]:
    """File names, in lower case, that an entry's sources give it."""
    refs = [parse_ref(source) for source in entry.sources]
    return {entry.store_name.lower()} | {Path(ref.file).name.lower() for ref in refs if ref.file}


def _is_it(path: Path, entry: CatalogEntry) -> bool:
    """Believe a file's name where nothing speaks against it; read it only where no size is known to compare."""
    try:
        if path.is_dir():
            return entry.sha256 is None
        if entry.bytes is not None:
            return path.stat().st_size == entry.bytes
        if entry.sha256 is not None:
            return remembered_sha256(path) == entry.sha256
        return not entry.refused_sha256 or not remembered_sha256(path).startswith(entry.refused_sha256)
    except OSError:  # another program has just moved it
        return False


def _is_it_by_its_bytes(path: Path, entry: CatalogEntry) -> bool:
    """Know a renamed file by its content; only one of the very size is read."""
    if entry.sha256 is None or entry.bytes is None:
        return False
    try:
        return path.is_file() and path.stat().st_size == entry.bytes and remembered_sha256(path) == entry.sha256
    except OSError:
        return False
