"""The catalog: what every alias means, where its file comes from and how it is best used."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from animdiff_cli.config.values import check
from animdiff_cli.config.yamlfile import read_yaml
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError

CATALOG = Path(__file__).with_name("catalog.yaml")

Kind = Literal[
    "base",
    "motion-module",
    "motion-lora",
    "domain-adapter",
    "lora",
    "vae",
    "embedding",
    "controlnet",
    "sparsectrl",
    "ip-adapter",
    "clip-encoder",
]
Base = Literal["sd15", "sdxl", "pocket"]

#: families of motion modules by name; for a MotionLoRA, adapter or SparseCtrl, the family it was made for
Family = Literal["v1", "v2", "v3", "lcm", "lightning", "sdxl", "hotshot", "long", "pia"]

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
    file: str | None = Field(None, pattern=r"^[\w.-]+$", description="Name in the models folder, if not the source's.")
    sha256: Sha256 | None = None
    bytes: int | None = Field(None, gt=0)
    license: str | None = None
    requires: tuple[Alias, ...] = Field((), description="Aliases that must be there too for this to be of use.")
    recommended: Mapping[str, object] = Field(default={}, description="Settings that apply unless others are given.")
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

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "CatalogEntry":
        if bool(self.sources) == (self.bundled is not None):
            raise ValueError("name sources, or that it is bundled, and not both")
        return self

    @property
    def store_name(self) -> str:
        """Name of its file, or of its folder, in the models folder of its kind."""
        first = parse_ref(self.sources[0]) if self.sources else None
        in_source = Path(first.file).name if first and first.file else self.alias
        return self.file or in_source

    @property
    def address(self) -> str | None:
        """Where a browser finds it; None for what is bundled."""
        return web_address(parse_ref(self.sources[0])) if self.sources else None


class Catalog:
    """Entries by every name they go by, letter case aside."""

    def __init__(self, entries: tuple[CatalogEntry, ...]) -> None:
        self.entries = entries
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


@cache
def load_catalog() -> Catalog:
    """Read the shipped catalog, once per process; nothing is read before this is called."""
    return read_catalog(CATALOG)


def read_catalog(path: Path) -> Catalog:
    """Read a catalog file: a YAML list of entries. Raises UsageError naming the entry that is not valid."""
    content = read_yaml(path)
    if not isinstance(content, list):
        raise UsageError(f"{path}: not a list of models", hint="begin each model with `- alias: name`")
    return Catalog(tuple(_entry(item, path) for item in content))


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


def _entry(item: object, path: Path) -> CatalogEntry:
    name = item.get("alias", "?") if isinstance(item, dict) else "?"
    try:
        return CatalogEntry.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: `{name}`: `{key}`: {first['msg'].lower()}", hint="correct this entry") from error
