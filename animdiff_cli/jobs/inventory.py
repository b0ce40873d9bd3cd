"""What weights there are: on this machine, bundled, in folders of other programs, and to be had."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from animdiff_cli import paths
from animdiff_cli.core.events import Emit, Note, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.fetch.disk import readable_failures
from animdiff_cli.fetch.presence import size_of
from animdiff_cli.registry.catalog import Base, CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.file_facts_cache import remember
from animdiff_cli.registry.hubcache import cached
from animdiff_cli.registry.model_dirs import KEPT_WITH, Found, ModelDir, is_beside, model_dirs
from animdiff_cli.registry.places import held, others_dir
from animdiff_cli.registry.sidecar import Sidecar, describe, read_fields, sidecar_path
from animdiff_cli.registry.store import find, locate_any, not_here
from animdiff_cli.weights.identify import identify

#: bundled with the program, in our models folder, in that of another program, in the cache of the Hub
Where = Literal["bundled", "store", "elsewhere", "hub-cache"]


@dataclass(frozen=True, slots=True)
class Model:
    """One set of weights, here or to be had. What nobody knows is None."""

    name: str  # what to type: an alias, a name on a shelf, an address or a path
    kind: str | None
    base: str | None
    version: str | None
    path: Path | None  # None where it is not on this machine
    where: Where | None
    bytes: int | None
    entry: CatalogEntry | None = None
    said: Sidecar = field(default_factory=Sidecar)
    problem: str | None = None  # why nobody knows what it is

    def record(self) -> dict[str, Any]:
        """List what is known, for JSON."""
        return {
            "name": self.name,
            "aliases": list(self.entry.aliases) if self.entry else [],
            "kind": self.kind,
            "base": self.base,
            "version": self.version,
            "description": self.said.description,
            "here": self.path is not None,
            "where": self.where,
            "path": str(self.path) if self.path else None,
            "bytes": self.bytes,
            "sha256": self.entry.sha256 if self.entry else None,
            "license": self.said.license,
            "problem": self.problem,
        }


def list_models(
    *, everything: bool = False, kind: Kind | None = None, base: Base | None = None, emit: Emit = ignore
) -> Iterator[Model]:
    """List the weights on this machine, and with `everything` those of the catalog that could be fetched as well."""
    with readable_failures(paths.models_dir()):
        among = model_dirs()
        for folder in paths.extra_models_dirs():
            if not folder.is_dir():
                emit(Note(f"there is no folder {folder}, which ANIMDIFF_EXTRA_MODELS names"))
        models = [_of_entry(entry, among) for entry in load_catalog().entries]
        claimed = {model.path for model in models if model.path}
        models += [model for model in _uncatalogued(among) if model.path not in claimed]
        cached_models = (_of_path(path, name, None) for name, path in cached() if path not in claimed)
        models += [model for model in cached_models if model.problem is None]  # others keep all sorts of things there
    for model in models:
        if kind not in (None, model.kind) or base not in (None, model.base):
            continue
        if everything or model.path is not None:
            yield model


def find_model(name: str) -> Model:
    """Find out about one set of weights by whatever names it. Raises NotFound for what nobody knows."""
    ref = parse_ref(name)
    with readable_failures(paths.models_dir()):
        if ref.source == "alias" and ref.target in load_catalog():
            return _of_entry(load_catalog().find(ref.target), model_dirs())
        return _of_path(locate_any(ref).path, str(ref), None)


def where_is(path: Path) -> Where:
    """Say whose folder a path lies in."""
    if path.is_relative_to(paths.pocket_dir()):
        return "bundled"
    if path.is_relative_to(paths.models_dir()):
        return "store"
    return "hub-cache" if path.is_relative_to(paths.hub_cache_dir()) else "elsewhere"


def require_path(model: Model) -> Path:
    """Return where weights lie. Raises NotFound that says how they come here."""
    if model.path is None:
        assert model.entry is not None  # what has no entry was found by its file
        raise not_here(model.entry)
    return model.path


def _of_entry(entry: CatalogEntry, among: Sequence[ModelDir]) -> Model:
    path = find(entry, among)
    return Model(
        name=entry.alias,
        kind=entry.kind,
        base=entry.base,
        version=entry.version,
        path=path,
        where=where_is(path) if path else None,
        bytes=size_of(path) if path else entry.bytes,
        entry=entry,
        said=describe(path or Path(), entry),
    )


def _uncatalogued(among: Sequence[ModelDir]) -> Iterator[Model]:
    """List what lies on the shelves, then what was fetched by its address."""
    for at, shelf in enumerate(among):
        for found in shelf.found:
            yield _of_path(found.path, _typeable(found, among[: at + 1]), found.kind)
    for place in sorted(others_dir().iterdir()) if others_dir().is_dir() else ():
        is_for_one_file = place.is_dir() and not sidecar_path(place).is_file()
        path = held(place) if is_for_one_file else place
        if path is None or is_beside(place.name):
            continue
        source = read_fields(path).get("source")
        yield _of_path(path, source if isinstance(source, str) and ":" in source else str(path), None)


def _typeable(found: Found, among: Sequence[ModelDir]) -> str:
    """Name what was found so that typing it finds it again: by its name where that means this file alone.

    `among` ends in the shelf it is on.
    """
    try:
        ref = parse_ref(found.name)
    except UsageError:  # a name with a space in it, say
        return str(found.path)
    if ref.source != "alias" or ref.target in load_catalog():
        return str(found.path)
    first = next(same for shelf in among if (same := shelf.named(found.name, found.kind)))
    return found.name if first == [found] else str(found.path)


def _of_path(path: Path, name: str, folder_kind: Kind | None) -> Model:
    """Tell what a file or folder is that no entry describes: by its sidecar, its content, and its folder."""
    said = describe(path, None)
    try:
        identity = _identity(path)
        problem = _misplaced(identity["kind"], folder_kind)
    except AnimdiffError as error:
        identity, problem = {}, str(error)
    return Model(
        name=name,
        kind=identity.get("kind") or folder_kind,
        base=said.base or identity.get("base"),
        version=identity.get("version"),
        path=path,
        where=where_is(path),
        bytes=size_of(path),
        said=said,
        problem=problem,
    )


def _misplaced(kind: str, folder_kind: Kind | None) -> str | None:
    """Say that a file lies where nobody looks for its kind; LoRAs of all kinds share a folder in other programs."""
    if folder_kind in (None, kind) or dict(KEPT_WITH).get(kind) == folder_kind:  # type: ignore[call-overload]
        return None
    return f"lies among {folder_kind} files, but is a {kind}"


def _identity(path: Path) -> dict[str, Any]:
    """Identify weights, from memory where they were identified before."""

    def find_out() -> dict[str, Any]:
        info = identify(path)
        return {"kind": info.kind, "base": info.base, "version": info.version}

    return find_out() if path.is_dir() else dict(remember(path, f"identity by {version('animdiff')}", find_out))
