"""The store: where the file behind a reference lies on this machine.

A name is looked up in the catalog first; then among what lies in our own models folder, where files may have been
put by hand; then in the folders of other programs, in the order they were named.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.refs import WEIGHT_SUFFIXES, ModelRef, parse_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.os_errors import readable_failures
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.external_models import find_elsewhere
from animdiff_cli.registry.hubcache import in_hub_cache
from animdiff_cli.registry.model_dirs import Found, ModelDir, model_dirs
from animdiff_cli.registry.places import held, is_there, place, place_ref
from animdiff_cli.registry.sidecar import read_fields

__all__ = ["KIND_FLAGS", "Located", "find", "here", "is_here", "locate", "locate_any", "not_here", "require_model"]

#: the flag a kind is given with; kinds without one are not applied by any command yet
KIND_FLAGS = {
    "base": "--model",
    "motion-module": "--motion-module",
    "motion-lora": "--motion-lora",
    "domain-adapter": "--domain-adapter",
    "lora": "--lora",
    "vae": "--vae",
    "embedding": "--embedding",
    "clip-encoder": "--clip",
}


@dataclass(frozen=True, slots=True)
class Located:
    """A file or folder of weights that is here, and its catalog entry where it has one."""

    path: Path
    entry: CatalogEntry | None


def locate(ref: ModelRef, kind: Kind) -> Located:
    """Find the weights behind a reference; nothing is loaded or fetched.

    Raises NotFound where they are not on this machine, UsageError where a name means another kind or two files, or
    where the system refuses to look.
    """
    return _locate(ref, kind)


def locate_any(ref: ModelRef) -> Located:
    """Find the weights behind a reference whatever their kind. Raises as `locate`."""
    return _locate(ref, None)


def find(entry: CatalogEntry, among: Sequence[ModelDir] | None = None) -> Path | None:
    """Find an entry's file or folder: where it belongs, where it was fetched to by address, or elsewhere.

    `among` are shelves that were looked through already, for those who ask for many entries.
    """
    belongs = place(entry)
    if is_there(belongs):
        return belongs
    by_address = (_at(place_ref(ref), ref) for ref in map(parse_ref, entry.sources))
    for path in by_address:
        if path is not None and entry.sha256 in (None, read_fields(path).get("sha256")):
            return path
    return find_elsewhere(entry, model_dirs() if among is None else among)


def here(kind: Kind) -> list[CatalogEntry]:
    """List the catalog entries of a kind that are on this machine, bundled ones included."""
    among = model_dirs()
    return [entry for entry in load_catalog().of_kind(kind) if find(entry, among) is not None]


def is_here(entry: CatalogEntry) -> bool:
    """True if an entry's file or folder is on this machine."""
    return find(entry) is not None


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


def not_here(entry: CatalogEntry) -> NotFound:
    """Say that an entry is not on this machine, and how it comes here."""
    if entry.bundled is not None:
        return NotFound(f"`{entry.alias}` is missing from this installation", hint="install animdiff again")
    if entry.path is not None:
        hint = f"say where it is now: `animdiff models add {entry.alias} PATH --overwrite`"
        return NotFound(f"`{entry.alias}` should be at {entry.path}, and is not", hint=hint)
    return NotFound(f"`{entry.alias}` is not on this machine", hint=f"run `animdiff fetch {entry.alias}`")


def _locate(ref: ModelRef, kind: Kind | None) -> Located:
    with _readable(ref):
        if ref.source == "path":
            return Located(_existing(paths.expanded(ref.target)), None)
        if ref.source != "alias":
            return Located(_fetched(replace(ref, scale=None)), None)
        if ref.target in load_catalog():
            return _catalogued(load_catalog().find(ref.target), kind)
        return Located(_on_shelves(ref.target, kind), None)


def _catalogued(entry: CatalogEntry, kind: Kind | None) -> Located:
    if kind not in (None, entry.kind):
        raise _wrong_kind(entry.alias, entry.kind, kind)
    path = find(entry)
    if path is None:
        raise not_here(entry)
    return Located(path, entry)


def _on_shelves(name: str, kind: Kind | None) -> Path:
    """Find a file or model folder by its name, letter case aside. The first shelf that has it counts."""
    among = model_dirs()
    for shelf in among:
        found = shelf.named(name, kind)
        if len(found) > 1:
            raise _ambiguous(name, found)
        if found:
            return found[0].path
    others = [found.kind for shelf in among for found in shelf.named(name) if found.kind]
    if others:
        raise _wrong_kind(name, others[0], kind)
    raise _unknown(name, among, kind)


def _fetched(ref: ModelRef) -> Path:
    path = _at(place_ref(ref), ref) or in_hub_cache(ref)
    if path is None:
        raise NotFound(f"`{ref}` is not on this machine", hint=f"run `animdiff fetch {ref}`")
    return path


def _at(place: Path, ref: ModelRef) -> Path | None:
    path = place if ref.source == "hf" else held(place)
    return path if path is not None and is_there(path) else None


def _existing(path: Path) -> Path:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_such_path(path) from None
    if not path.exists():
        raise NotFound(f"`{path}` is a link to something that is gone", hint="check the path")
    return path


def _no_such_path(path: Path) -> NotFound:
    if path.parent == Path() and path.suffix.lower() in WEIGHT_SUFFIXES:
        for found in (found for shelf in model_dirs() for found in shelf.found):
            if found.path.name == path.name:
                return NotFound(f"no file or folder `{path}` here", hint=f"by its name alone: `{found.name}`")
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, siblings, otherwise="check the path, or name an alias such as `pocket`")
    return NotFound(f"no file or folder `{path}`", hint=hint)


def _readable(ref: ModelRef) -> AbstractContextManager[None]:
    return readable_failures("look for", Path(ref.target), hint="check the path, and who may read it")


def _ambiguous(name: str, found: Sequence[Found]) -> UsageError:
    both = " and ".join(str(each.path) for each in found[:2])
    return UsageError(f"`{name}` names {len(found)} files: {both}", hint=f"give the path: `{found[0].path}`")


def _unknown(name: str, among: Sequence[ModelDir], kind: Kind | None) -> NotFound:
    """Say that nobody knows a name, and which one of the catalog or on a shelf is near."""
    catalog = load_catalog()
    known = [alias for entry in catalog.entries for alias in (entry.alias, *entry.aliases)]
    known += [found.name for shelf in among for found in shelf.found if kind is None or found.may_be(kind)]
    hint = did_you_mean(name, known, otherwise=f"for a file or folder of this name, type `./{name}`")
    return NotFound(f"unknown model alias `{name}`", hint=hint)


def _wrong_kind(name: str, found: Kind, wanted: Kind | None) -> UsageError:
    flag = KIND_FLAGS.get(found)
    hint = f"use it as `{flag} {name}`" if flag else f"name one whose kind is {wanted}"
    return UsageError(f"the kind of `{name}` is {found}, not {wanted}", hint=hint)
