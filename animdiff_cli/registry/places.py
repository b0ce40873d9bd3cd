"""Where weights belong on this machine, whether or not they are there."""

import hashlib
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.model_dirs import is_beside


def place(entry: CatalogEntry) -> Path:
    """Say where an entry's file or folder belongs, whether or not it is there."""
    if entry.bundled is not None:
        return paths.pocket_dir() / entry.bundled
    if entry.path is not None:
        return paths.expanded(entry.path)
    return paths.models_dir() / entry.kind / entry.store_name


def place_ref(ref: ModelRef) -> Path:
    """Say where what an address names belongs, outside the catalog.

    A file or a whole repository of the Hub lies there itself. For other sites it is a folder that holds one file,
    whose name only the site can tell; `held` finds it.
    """
    if ref.source == "hf":
        parts = [*ref.target.split("/"), *(f"@{ref.revision}".split("/") if ref.revision else [])]
        name = "--".join([*parts, *(ref.file.split("/") if ref.file else [])])
    elif ref.source == "civitai":
        name = f"civitai-{ref.target}-{ref.revision}"
    else:
        # addresses hold characters that file names cannot
        name = f"{ref.target.partition('//')[2].partition('/')[0].replace(':', '-')}-{_short_hash(ref.target)}"
    return others_dir() / name


def others_dir() -> Path:
    """Where what was fetched by its address lies."""
    return paths.models_dir() / "other"


def held(place: Path) -> Path | None:
    """Find the one file of weights in a folder that `place_ref` gave; None while there is none."""
    names = place.iterdir() if place.is_dir() else ()
    return next((path for path in names if path.is_file() and not is_beside(path.name)), None)


def is_there(path: Path) -> bool:
    """True for a file, and for a folder that is not empty."""
    return any(path.iterdir()) if path.is_dir() else path.is_file()


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
