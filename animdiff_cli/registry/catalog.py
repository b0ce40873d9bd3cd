"""The catalog: what every alias means, where its file comes from and how it is best used."""

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from animdiff_cli import paths
from animdiff_cli.config.train_layers import check_setting
from animdiff_cli.config.values import check
from animdiff_cli.config.yamlfile import read_yaml
from animdiff_cli.core.choices import Base as Base
from animdiff_cli.core.choices import Family as Family
from animdiff_cli.core.choices import Kind as Kind
from animdiff_cli.core.choices import Stage
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError

CATALOG = Path(__file__).with_name("catalog.yaml")

Alias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CatalogEntry(BaseModel):
    """One set of weights. Values that nobody has confirmed are None, never guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alias: Alias
    aliases: tuple[Alias, ...] = Field((), description="Older and other names for the same weights.")
    kind: Kind
    base: Base
    version: Family | None = None
    description: str = Field(min_length=1, description="One line, as it stands in a list.")
    sources: tuple[str, ...] = Field((), description="References to fetch from, best first.")
    bundled: str | None = Field(None, description="Path below the bundled miniature; `.` is all of it.")
    path: str | None = Field(None, description="File or folder of one's own, used where it lies; starts at the root.")
    file: str | None = Field(None, pattern=r"^[\w.-]+$", description="Name in the models folder, if not the source's.")
    sha256: Sha256 | None = None
    bytes: int | None = Field(None, gt=0)
    license: str | None = None
    requires: tuple[Alias, ...] = Field((), description="Aliases that must be there too for this to be of use.")
    recommended: Mapping[str, object] = Field(default={}, description="Settings that apply unless others are given.")
    training: Mapping[Stage, Mapping[str, object]] = Field(
        default={}, description="Settings of each stage of training on this model, unless others are given."
    )
    trigger_words: tuple[str, ...] = Field((), description="Words a prompt needs for this to show.")
    refused_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")], ...] = Field(
        (), description="Hashes of superseded uploads, or the first digits of them."
    )

    @field_validator("sources")
    @classmethod
    def _sources_parse(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if parse_ref(source).source not in ("hf", "civitai", "url"):
                raise ValueError(f"`{source}` is no place to fetch from")
        return sources

    @field_validator("recommended")
    @classmethod
    def _settings_exist(cls, recommended: Mapping[str, object]) -> Mapping[str, object]:
        return {key: check(key, value, "recommended settings") for key, value in recommended.items()}

    @field_validator("training")
    @classmethod
    def _training_exists(cls, training: Mapping[Stage, Mapping[str, object]]) -> Mapping[Stage, Mapping[str, object]]:
        return {
            stage: {key: check_setting(key, value, f"training of a {stage}") for key, value in settings.items()}
            for stage, settings in training.items()
        }

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "CatalogEntry":
        if bool(self.sources) + (self.bundled is not None) + (self.path is not None) != 1:
            raise ValueError("name sources, or that it is bundled, or a path, and not both")
        if self.path is not None and not Path(self.path).expanduser().is_absolute():
            raise ValueError(f"`{self.path}` depends on where you stand; write the whole path")
        return self

    @property
    def store_name(self) -> str:
        """Name of its file, or of its folder, in the models folder of its kind."""
        if self.path is not None:
            return Path(self.path).name
        first = parse_ref(self.sources[0]) if self.sources else None
        in_source = Path(first.file).name if first and first.file else self.alias
        return self.file or in_source

    @property
    def address(self) -> str | None:
        """Where a browser finds it; None for what is bundled."""
        return web_address(parse_ref(self.sources[0])) if self.sources else None


class Catalog:
    """Entries by every name they go by, letter case aside. `own` are the aliases a person added."""

    def __init__(self, entries: tuple[CatalogEntry, ...], own: Iterable[str] = ()) -> None:
        self.entries = entries
        self.own = frozenset(own)
        self._by_name: dict[str, CatalogEntry] = {}
        for entry in entries:
            for name in (entry.alias, *entry.aliases):
                if name in self._by_name:
                    raise UsageError(f"alias `{name}` is given to two models", hint="rename one of them")
                self._by_name[name] = entry

    def __contains__(self, alias: str) -> bool:
        return alias.lower() in self._by_name

    def find(self, alias: str) -> CatalogEntry:
        """Look an alias up. Raises NotFound with the nearest one."""
        if alias in self:
            return self._by_name[alias.lower()]
        hint = did_you_mean(alias, self._by_name, otherwise=f"for a file or folder of this name, type `./{alias}`")
        raise NotFound(f"unknown model alias `{alias}`", hint=hint)

    def of_kind(self, kind: Kind) -> tuple[CatalogEntry, ...]:
        """Entries of one kind, in the catalog's order."""
        return tuple(entry for entry in self.entries if entry.kind == kind)


def load_catalog() -> Catalog:
    """Read the shipped catalog and a person's own, whose names win; again only when the latter has changed.

    Nothing is read before this is called. Raises UsageError for an entry of one's own that is not valid.
    """
    own = user_catalog()
    try:
        state = own.stat()
    except OSError:  # most people have none
        return shipped_catalog()
    return _with_own(own, (state.st_ino, state.st_mtime_ns, state.st_size))


def user_catalog() -> Path:
    """Where a person's own entries are: a list like the shipped one."""
    return paths.config_dir() / "catalog.yaml"


@cache
def shipped_catalog() -> Catalog:
    """Read the catalog that comes with the program."""
    return read_catalog(CATALOG)


def merge(shipped: Catalog, own: Catalog) -> Catalog:
    """Put a person's own entries above the shipped ones: a name that both use is theirs."""
    kept = []
    for entry in shipped.entries:
        if entry.alias not in own:
            others = tuple(name for name in entry.aliases if name not in own)
            kept.append(entry.model_copy(update={"aliases": others}))
    return Catalog((*kept, *own.entries), own=(entry.alias for entry in own.entries))


@lru_cache(maxsize=1)
def _with_own(path: Path, state: tuple[int, int, int]) -> Catalog:
    """Read and merge; `state` tells one version of the file from the next, which is another file by number."""
    return merge(shipped_catalog(), read_catalog(path))


def read_catalog(path: Path) -> Catalog:
    """Read a catalog file: a YAML list of entries. Raises UsageError naming the entry that is not valid."""
    return check_catalog(read_yaml(path), path)


def check_catalog(content: object, path: Path) -> Catalog:
    """Take what a catalog file holds. Raises UsageError naming the entry of `path` that is not valid."""
    if content is None:
        return Catalog(())
    if not isinstance(content, list):
        raise UsageError(f"{path}: not a list of models", hint="begin each model with `- alias: name`")
    entries = tuple(_entry(item, path) for item in content)
    try:
        return Catalog(entries)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from error


def web_address(ref: ModelRef) -> str:
    """Turn a reference to something on the web into an address that a browser can open.

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


def first_fault(error: ValidationError) -> str:
    """Say which key of a record is wrong first, and why."""
    first = error.errors()[0]
    return f"`{'.'.join(map(str, first['loc']))}`: {first['msg'].lower()}"


def _entry(item: object, path: Path) -> CatalogEntry:
    name = item.get("alias", "?") if isinstance(item, dict) else "?"
    try:
        return CatalogEntry.model_validate(item)
    except ValidationError as error:
        raise UsageError(f"{path}: `{name}`: {first_fault(error)}", hint="correct this entry") from error
    except UsageError as error:
        raise UsageError(f"{path}: `{name}`: {error}", hint=error.hint) from error
