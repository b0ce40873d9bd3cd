"""The model catalog: aliases, their download sources, hashes and recommended settings."""

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from animdiff_cli import paths
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.values import check_values
from animdiff_cli.config.yamlfile import read_yaml
from animdiff_cli.core.choices import Base as Base
from animdiff_cli.core.choices import Family as Family
from animdiff_cli.core.choices import Kind as Kind
from animdiff_cli.core.choices import Stage
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.core.validation_words import in_own_words
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.hashing import FileState, file_state
from animdiff_cli.registry.catalog_files import CATALOG, user_catalog_path
from animdiff_cli.registry.file_facts_cache import cached_fact

Alias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CatalogEntry(BaseModel):
    """One model. Unconfirmed values are None, never guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alias: Alias
    aliases: tuple[Alias, ...] = Field((), description="Other names for the same weights.")
    kind: Kind
    base: Base
    version: Family | None = None
    description: str = Field(min_length=1, description="One short sentence for lists.")
    sources: tuple[str, ...] = Field((), description="References to download from, best first.")
    bundled: str | None = Field(None, description="Path inside the bundled miniature model; `.` is the whole model.")
    path: str | None = Field(None, description="Absolute path of a local file or folder, used in place.")
    file: str | None = Field(
        None, pattern=r"^[\w.-]+$", description="File name in the models folder, if not the source's."
    )
    sha256: Sha256 | None = None
    bytes: int | None = Field(None, gt=0)
    license: str | None = None
    condition: Literal["rgb", "scribble"] | None = Field(None, description="Pictures that a SparseCtrl takes.")
    max_frames: int | None = Field(None, gt=0, description="Most frames of a motion module, if not its version's.")
    requires: tuple[Alias, ...] = Field((), description="Aliases of models that this one needs.")
    recommended: Mapping[str, object] = Field(default={}, description="Defaults for `generate` with this model.")
    training: Mapping[Stage, Mapping[str, object]] = Field(
        default={}, description="Defaults for training on this model, by stage."
    )
    trigger_words: tuple[str, ...] = Field((), description="Words that a prompt needs to trigger its effect.")
    refused_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")], ...] = Field(
        (), description="Hashes of superseded uploads, or their first digits."
    )

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if parse_ref(source).source not in ("hf", "civitai", "url"):
                raise ValueError(f"`{source}` is not a download source")
        return sources

    @field_validator("recommended")
    @classmethod
    def _check_recommended(cls, recommended: Mapping[str, object]) -> Mapping[str, object]:
        return check_values(GenerateConfig, recommended, "recommended settings")

    @field_validator("training")
    @classmethod
    def _check_training(cls, training: Mapping[Stage, Mapping[str, object]]) -> Mapping[Stage, Mapping[str, object]]:
        return {
            stage: check_values(TrainConfig, settings, f"training settings of {stage}")
            for stage, settings in training.items()
        }

    @model_validator(mode="after")
    def _check_origin(self) -> "CatalogEntry":
        if bool(self.sources) + (self.bundled is not None) + (self.path is not None) != 1:
            raise ValueError("set exactly one of `sources`, `bundled` and `path`")
        if self.path is not None and not paths.expanded(self.path).is_absolute():
            raise ValueError(f"`{self.path}` is a relative path; write an absolute one")
        return self

    @property
    def store_name(self) -> str:
        """Name of its file or folder inside the models folder of its kind."""
        if self.path is not None:
            return Path(self.path).name
        first = parse_ref(self.sources[0]) if self.sources else None
        in_source = Path(first.file).name if first and first.file else self.alias
        return self.file or in_source

    @property
    def address(self) -> str | None:
        """URL of the first source; None for bundled and local models."""
        return web_address(parse_ref(self.sources[0])) if self.sources else None


class Catalog:
    """Entries by alias, ignoring case. `user_aliases` are the aliases from the user catalog."""

    def __init__(self, entries: tuple[CatalogEntry, ...], user_aliases: Iterable[str] = ()) -> None:
        self.entries = entries
        self.user_aliases = frozenset(user_aliases)
        self._by_name: dict[str, CatalogEntry] = {}
        for entry in entries:
            for name in (entry.alias, *entry.aliases):
                if name in self._by_name:
                    raise UsageError(f"two models have the alias `{name}`", hint="rename one of them")
                self._by_name[name] = entry

    def __contains__(self, alias: str) -> bool:
        return alias.lower() in self._by_name

    def find(self, alias: str) -> CatalogEntry:
        """Return the entry of an alias. Raises NotFound with the closest alias as a hint."""
        if alias in self:
            return self._by_name[alias.lower()]
        hint = did_you_mean(alias, self._by_name, otherwise=f"for a file or folder with this name, type `./{alias}`")
        raise NotFound(f"unknown model alias `{alias}`", hint=hint)

    def of_kind(self, kind: Kind) -> tuple[CatalogEntry, ...]:
        """Return the entries of one kind, in catalog order."""
        return tuple(entry for entry in self.entries if entry.kind == kind)


def load_catalog() -> Catalog:
    """Return the shipped catalog merged with the user catalog, whose aliases take precedence.

    The result is cached until the user catalog changes. Raises UsageError for an invalid entry in it.
    """
    path = user_catalog_path()
    try:
        state = file_state(path)
    except OSError:  # most users have none
        return shipped_catalog()
    return _merged_catalog(path, state)


@cache
def shipped_catalog() -> Catalog:
    """Read the catalog that ships with the program."""
    return read_catalog(CATALOG)


def merge(shipped: Catalog, user: Catalog) -> Catalog:
    """Merge two catalogs. The user catalog takes over any alias that both define."""
    kept = []
    for entry in shipped.entries:
        if entry.alias not in user:
            others = tuple(name for name in entry.aliases if name not in user)
            kept.append(entry.model_copy(update={"aliases": others}))
    return Catalog((*kept, *user.entries), user_aliases=(entry.alias for entry in user.entries))


@lru_cache(maxsize=1)
def _merged_catalog(path: Path, state: FileState) -> Catalog:
    """Read and merge. `state` identifies the file's version in the cache key."""
    # reading YAML takes five times as long as checking its content
    content = cached_fact(path, "catalog", lambda: read_yaml(path), versioned=True)
    return merge(shipped_catalog(), check_catalog(content, path))


def read_catalog(path: Path) -> Catalog:
    """Read a catalog file: a YAML list of entries. Raises UsageError that names the invalid entry."""
    return check_catalog(read_yaml(path), path)


def check_catalog(content: object, path: Path) -> Catalog:
    """Validate the parsed content of the catalog file `path`. Raises UsageError that names the invalid entry."""
    if content is None:
        return Catalog(())
    if not isinstance(content, list):
        raise UsageError(f"{path}: not a list of models", hint="start each model with `- alias: name`")
    entries = tuple(_entry(item, path) for item in content)
    try:
        return Catalog(entries)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from error


def web_address(ref: ModelRef) -> str:
    """Return the URL of a remote reference.

    >>> web_address(parse_ref("hf:guoyww/animatediff/v3_sd15_mm.ckpt"))
    'https://huggingface.co/guoyww/animatediff/resolve/main/v3_sd15_mm.ckpt'
    """
    if ref.source == "hf" and ref.file:
        return f"https://huggingface.co/{ref.target}/resolve/{ref.revision or 'main'}/{ref.file}"
    if ref.source == "hf":
        return f"https://huggingface.co/{ref.target}" + (f"/tree/{ref.revision}" if ref.revision else "")
    if ref.source == "civitai":
        return f"https://civitai.com/models/{ref.target}?modelVersionId={ref.revision}"
    return ref.target


def first_validation_error(error: ValidationError) -> str:
    """Format the first validation error as key and reason."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    return f"`{key}`: {in_own_words(first['msg'])}" if key else in_own_words(first["msg"])


def _entry(item: object, path: Path) -> CatalogEntry:
    name = item.get("alias", "?") if isinstance(item, dict) else "?"
    try:
        return CatalogEntry.model_validate(item)
    except ValidationError as error:
        raise UsageError(f"{path}: `{name}`: {first_validation_error(error)}", hint="correct this entry") from error
    except UsageError as error:
        raise UsageError(f"{path}: `{name}`: {error}", hint=error.hint) from error
