"""List and describe models: local, bundled, in folders of other programs, and in the catalog."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from animdiff_cli import paths
from animdiff_cli.core.events import Emit, Note, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.urls import redacted
from animdiff_cli.errors import AnimdiffError, IntegrityError, UsageError
from animdiff_cli.fetch.disk import readable_failures
from animdiff_cli.fetch.items import requirements
from animdiff_cli.fetch.local import DownloadRecord, read_download_record, size_of
from animdiff_cli.registry.catalog import Base, Catalog, CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.file_facts_cache import cached_fact
from animdiff_cli.registry.hub_cache import list_hub_cache
from animdiff_cli.registry.metadata import ModelMetadata, metadata_of, metadata_path, read_metadata_json
from animdiff_cli.registry.model_dirs import (
    KEPT_WITH,
    LocalWeights,
    ModelDir,
    is_companion_file,
    model_dirs,
    refs_dir,
    weights_in_folder,
)
from animdiff_cli.registry.store import is_local, local_path, locate_any, not_downloaded, unsupported
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.info import WeightsInfo

#: bundled with the program, in animdiff's models folder, in a folder of another program, in the Hub cache
Location = Literal["bundled", "store", "elsewhere", "hub-cache"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One set of weights, local or downloadable. Unknown values are None."""

    name: str  # what to type: an alias, a file name without suffix, a reference or a path
    kind: str | None
    base: str | None
    version: str | None
    path: Path | None  # None if it is not on this machine
    where: Location | None
    bytes: int | None
    entry: CatalogEntry | None = None
    metadata: ModelMetadata = field(default_factory=ModelMetadata)
    problem: str | None = None  # why it cannot be identified or used

    @property
    def unsupported(self) -> str | None:
        """Why no command can use it yet; None if one can."""
        return unsupported(self.kind)

    def record(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "name": self.name,
            "aliases": list(self.entry.aliases) if self.entry else [],
            "kind": self.kind,
            "base": self.base,
            "version": self.version,
            "description": self.metadata.description,
            "here": self.path is not None,
            "where": self.where,
            "path": str(self.path) if self.path else None,
            "bytes": self.bytes,
            "sha256": self.entry.sha256 if self.entry else None,
            "license": self.metadata.license,
            "problem": self.problem,
            "unsupported": self.unsupported,
        }


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """Everything `animdiff models show` prints about one model."""

    model: ModelInfo
    download_record: DownloadRecord | None  # the recorded download or verification
    info: WeightsInfo | None  # None if the file is missing or not recognized
    requirements: tuple[tuple[str, bool], ...]  # alias, and whether it is on this machine

    @property
    def sha256(self) -> str | None:
        """The expected hash: from the catalog, else from the recorded download."""
        entry = self.model.entry
        return (entry.sha256 if entry else None) or (self.download_record.sha256 if self.download_record else None)

    def record(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        entry, download_record = self.model.entry, self.download_record
        return {
            **self.model.record(),
            "sha256": self.sha256,
            "sources": list(entry.sources) if entry else [download_record.source] if download_record else [],
            "revision": download_record.revision if download_record else None,
            "fetched": download_record.date if download_record else None,
            "requires": [alias for alias, _ in self.requirements],
            "trigger_words": list(self.model.metadata.trigger_words),
            "recommended": dict(self.model.metadata.recommended),
            "inside": self.info.record() if self.info else None,
        }


def list_models(
    *, everything: bool = False, kind: Kind | None = None, base: Base | None = None, emit: Emit = ignore
) -> Iterator[ModelInfo]:
    """Yield the models on this machine. With `everything`, also the catalog models that can be downloaded."""
    with readable_failures(paths.models_dir()):
        dirs = model_dirs()
        for folder in paths.extra_models_dirs():
            if not folder.is_dir():
                emit(Note(f"ANIMDIFF_EXTRA_MODELS names {folder}, which is not a folder"))
        models = [_from_entry(entry, dirs) for entry in load_catalog().entries]
        listed = {model.path for model in models if model.path}
        models += [model for model in _not_in_catalog(dirs) if model.path not in listed]
        cached = (_from_path(path, ref, None) for ref, path in list_hub_cache() if path not in listed)
        models += [model for model in cached if model.problem is None]  # the Hub cache also holds unrelated models
    for model in models:
        if kind not in (None, model.kind) or base not in (None, model.base):
            continue
        if everything or model.path is not None:
            yield model


def find_model(name: str) -> ModelInfo:
    """Return the model of an alias, file name, reference or path. Raises NotFound if there is none."""
    ref = parse_ref(name)
    with readable_failures(paths.models_dir()):
        if ref.source == "alias" and ref.target in load_catalog():
            return _from_entry(load_catalog().find(ref.target), model_dirs())
        return _from_path(locate_any(ref).path, str(ref), None)


def model_details(name: str) -> ModelDetails:
    """Return all details of the model that `name` refers to. Raises NotFound if there is none."""
    model = find_model(name)
    needed = requirements(model.entry) if model.entry else ()
    download_record = read_download_record(model.path) if model.path else None
    return ModelDetails(
        model, download_record, _weights_info(model), tuple((entry.alias, is_local(entry)) for entry in needed)
    )


def location_of(path: Path) -> Location:
    """Return which folder a path lies in."""
    if path.is_relative_to(paths.pocket_dir()):
        return "bundled"
    if path.is_relative_to(paths.models_dir()):
        return "store"
    return "hub-cache" if path.is_relative_to(paths.hub_cache_dir()) else "elsewhere"


def require_path(model: ModelInfo) -> Path:
    """Return the model's local path. Raises NotFound with the command that downloads it."""
    if model.path is None:
        assert model.entry is not None  # a model without a catalog entry was found by its file
        raise not_downloaded(model.entry)
    return model.path


def _from_entry(entry: CatalogEntry, dirs: Sequence[ModelDir]) -> ModelInfo:
    path = local_path(entry, dirs)
    return ModelInfo(
        name=entry.alias,
        kind=entry.kind,
        base=entry.base,
        version=entry.version,
        path=path,
        where=location_of(path) if path else None,
        bytes=size_of(path) if path else entry.bytes,
        entry=entry,
        metadata=metadata_of(path or Path(), entry),
    )


def _not_in_catalog(dirs: Sequence[ModelDir]) -> Iterator[ModelInfo]:
    """Yield the weights in model directories, then those downloaded by reference."""
    catalog = load_catalog()
    for index, folder in enumerate(dirs):
        for weights in folder.weights:
            yield _from_path(weights.path, _unique_name(weights, dirs[: index + 1], catalog), weights.kind)
    for target in sorted(refs_dir().iterdir()) if refs_dir().is_dir() else ():
        holds_one_file = target.is_dir() and not metadata_path(target).is_file()
        path = weights_in_folder(target) if holds_one_file else target
        if path is None or is_companion_file(target.name):
            continue
        source = read_metadata_json(path).get("source")
        name = redacted(source) if isinstance(source, str) and ":" in source else str(path)
        yield _from_path(path, name, None)


def _unique_name(weights: LocalWeights, dirs: Sequence[ModelDir], catalog: Catalog) -> str:
    """Return the name to type for `weights`: its short name if that resolves to this file alone, else its path.

    `dirs` are the directories searched for the name, up to the one that holds `weights`.
    """
    try:
        ref = parse_ref(weights.name)
    except UsageError:  # for example, a name with a space
        return str(weights.path)
    if ref.source != "alias" or ref.target in catalog:
        return str(weights.path)
    matches = next(same for folder in dirs if (same := folder.named(weights.name, weights.kind)))
    return weights.name if matches == [weights] else str(weights.path)


def _from_path(path: Path, name: str, folder_kind: Kind | None) -> ModelInfo:
    """Describe weights without a catalog entry from their metadata file, content and folder."""
    problem: str | None = None
    try:
        metadata = metadata_of(path, None)
    except UsageError as error:
        metadata, problem = ModelMetadata(), str(error)
    try:
        identity = _identity(path)
        problem = problem or identity.get("problem") or _wrong_folder(identity["kind"], folder_kind)
    except AnimdiffError as error:
        identity, problem = {}, str(error)
    return ModelInfo(
        name=name,
        kind=identity.get("kind") or folder_kind,
        base=metadata.base or identity.get("base"),
        version=identity.get("version"),
        path=path,
        where=location_of(path),
        bytes=size_of(path),
        metadata=metadata,
        problem=problem,
    )


def _wrong_folder(kind: str, folder_kind: Kind | None) -> str | None:
    """Return the problem of weights in a folder of another kind. Other programs keep all LoRAs in one folder."""
    if folder_kind in (None, kind) or (kind, folder_kind) in KEPT_WITH.items():
        return None
    return f"a {kind} in the folder of {folder_kind} files"


def _identity(path: Path) -> dict[str, Any]:
    """Return kind, base and version of weights, or the problem of unknown ones; cached for files."""

    def compute() -> dict[str, Any]:
        try:
            info = identify(path)
        except IntegrityError as error:
            return {"problem": str(error)}
        return {"kind": info.kind, "base": info.base, "version": info.version}

    return compute() if path.is_dir() else dict(cached_fact(path, "identity", compute, versioned=True))


def _weights_info(model: ModelInfo) -> WeightsInfo | None:
    if model.path is None:
        return None
    try:
        return identify(model.path)
    except AnimdiffError:  # `model.problem` or `animdiff inspect` reports the reason
        return None
