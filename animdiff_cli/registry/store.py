"""The store: where the file behind a reference lies on this machine."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog

#: the flag a kind is given with; kinds without one are not applied by any command yet
KIND_FLAGS = {"base": "--model", "motion-module": "--motion-module", "clip-encoder": "--clip"}


@dataclass(frozen=True, slots=True)
class Located:
    """A file or folder of weights that is here, and its catalog entry where it has one."""

    path: Path
    entry: CatalogEntry | None


def locate(ref: ModelRef, kind: Kind) -> Located:
    """Find the weights behind a reference; nothing is opened or fetched.

    Raises NotFound where they are not on this machine, UsageError where an alias names another kind.
    """
    if ref.source == "path":
        return Located(_existing(Path(ref.target).expanduser()), None)
    if ref.source != "alias":
        return Located(_fetched(replace(ref, scale=None)), None)
    entry = load_catalog().find(ref.target)
    if entry.kind != kind:
        raise _wrong_kind(entry, kind)
    path = place(entry)
    if not _is_there(path):
        raise _not_here(entry)
    return Located(path, entry)


def place(entry: CatalogEntry) -> Path:
    """Say where an entry's file or folder belongs, whether or not it is there."""
    if entry.bundled is not None:
        return paths.pocket_dir() / entry.bundled
    return _folder(entry.kind) / entry.store_name


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
    return paths.models_dir() / "other" / name


def held(place: Path) -> Path | None:
    """Find the one file of weights in a folder that `place_ref` gave; None while there is none."""
    names = place.iterdir() if place.is_dir() else ()
    return next((path for path in names if path.is_file() and not _is_beside(path)), None)


def here(kind: Kind) -> list[CatalogEntry]:
    """List the catalog entries of a kind that are on this machine, bundled ones included."""
    return [entry for entry in load_catalog().of_kind(kind) if is_here(entry)]


def is_here(entry: CatalogEntry) -> bool:
    """True if an entry's file or folder is on this machine."""
    return _is_there(place(entry))


def require_model(name: str | None) -> str:
    """Return the image model that was named; with none named, raise NotFound with one that could be."""
    if name:
        return name
    downloaded = [entry.alias for entry in here("base") if entry.bundled is None]
    if downloaded:
        raise NotFound("no image model was named", hint=f"on this machine there is: `--model {downloaded[0]}`")
    raise NotFound(
        "no image model was named",
        hint='try the bundled miniature: `animdiff generate --model pocket --prompt "a red rocket in the night sky"`',
    )


def _fetched(ref: ModelRef) -> Path:
    place = place_ref(ref)
    path = place if ref.source == "hf" else held(place)
    if path is None or not _is_there(path):
        raise NotFound(f"`{ref}` is not on this machine", hint=f"run `animdiff fetch {ref}`")
    return path


def _is_beside(path: Path) -> bool:
    """True for what a download puts beside weights: receipts, parts and locks."""
    return path.name.startswith(".") or path.name.endswith((".json", ".part", ".part.jsonl", ".new"))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _folder(kind: Kind) -> Path:
    return paths.models_dir() / kind


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, siblings, otherwise="check the path, or name an alias such as `pocket`")
    raise NotFound(f"no file or folder `{path}`", hint=hint)


def _is_there(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file()


def _not_here(entry: CatalogEntry) -> NotFound:
    if entry.address is None:
        return NotFound(f"`{entry.alias}` is missing from this installation", hint="install animdiff again")
    return NotFound(f"`{entry.alias}` is not on this machine", hint=f"run `animdiff fetch {entry.alias}`")


def _wrong_kind(entry: CatalogEntry, wanted: Kind) -> UsageError:
    flag = KIND_FLAGS.get(entry.kind)
    hint = f"use it as `{flag} {entry.alias}`" if flag else f"name one whose kind is {wanted}"
    return UsageError(f"the kind of `{entry.alias}` is {entry.kind}, not {wanted}", hint=hint)
