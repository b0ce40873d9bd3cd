"""Give weights a name of one's own: what `animdiff models add` writes into the user catalog."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from animdiff_cli.core.choices import Base, Family, Kind
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.items import GROUPS
from animdiff_cli.fetch.presence import size_of
from animdiff_cli.fetch.receipt import read_receipt
from animdiff_cli.registry.catalog import CatalogEntry, first_fault, load_catalog
from animdiff_cli.registry.file_facts_cache import remembered_sha256
from animdiff_cli.registry.store import locate_any
from animdiff_cli.registry.user_catalog import add_entry
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.info import WeightsInfo

#: a domain adapter in another layout than the official one has nothing that tells it from a LoRA
ALIKE = {"lora", "domain-adapter"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person says of the weights; what they leave out is read from the file, or stays unknown."""

    kind: Kind | None = None
    base: Base | None = None
    version: Family | None = None
    description: str | None = None
    license: str | None = None
    requires: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    recommended: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """The entry, and the catalog it was written into."""

    entry: CatalogEntry
    catalog: Path


def add(alias: str, source: str, wishes: Wishes, *, overwrite: bool = False) -> Added:
    """Make an entry for `source`, a reference or a file, and write it into a person's own catalog.

    Kind, base and version are read from the weights where they are here; a file's sha256 is recorded. Raises
    UsageError for a name that is taken or cannot be typed, and for what is neither told nor to be read.
    """
    name = _alias(alias)
    ref = parse_ref(source)
    path = _here(ref)
    info = identify(path) if path is not None else None
    origin = _origin(ref, path)
    fields: dict[str, Any] = {
        "alias": name,
        "kind": _kind(wishes, info, ref),
        "base": _base(wishes, info, ref),
        "version": _version(wishes, info),
        "description": wishes.description or _description(ref, path),
        **origin,
        "license": wishes.license,
        "requires": tuple(load_catalog().find(_alias_of(needed)).alias for needed in wishes.requires),
        "trigger_words": wishes.trigger_words,
        "recommended": wishes.recommended or {},
    }
    try:
        entry = CatalogEntry.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"`{name}`: {first_fault(error)}", hint="see `animdiff models add --help`") from error
    return Added(entry, add_entry(entry, overwrite=overwrite))


def _alias(alias: str) -> str:
    ref = parse_ref(alias)
    if ref.source != "alias":
        raise UsageError(f"`{alias}` cannot be an alias", hint="letters, digits, `.`, `_`, `+` and `-`, no suffix")
    if ref.target in GROUPS:
        raise UsageError(f"`{alias}` is the name of a group of models", hint="choose another")
    return ref.target


def _alias_of(text: str) -> str:
    return parse_ref(text).target


def _here(ref: ModelRef) -> Path | None:
    """Find the weights; None where they are still to be fetched. A file that is not there is no such case."""
    try:
        return locate_any(ref).path.absolute()
    except NotFound:
        if ref.source in ("path", "alias"):
            raise
        return None


def _origin(ref: ModelRef, path: Path | None) -> dict[str, Any]:
    """Say where the weights come from, and what they are to the last bit, as far as that is known."""
    if ref.source == "alias" and ref.target in load_catalog():
        known = load_catalog().find(ref.target)
        if known.sources:
            return {"sources": known.sources, "file": known.file, "sha256": known.sha256, "bytes": known.bytes}
    if ref.source in ("path", "alias"):
        assert path is not None  # or it would have been refused
        return {
            "path": str(path),
            "bytes": size_of(path),
            "sha256": remembered_sha256(path) if path.is_file() else None,
        }
    receipt = read_receipt(path) if path is not None else None
    told = {"sha256": receipt.sha256, "bytes": receipt.bytes} if receipt and receipt.sha256 else {}
    return {"sources": (str(ref),), **told}


def _kind(wishes: Wishes, info: WeightsInfo | None, ref: ModelRef) -> str:
    if info is None:
        if wishes.kind is None:
            raise _unknown("kind", "lora", ref)
        return wishes.kind
    if wishes.kind and info.kind != wishes.kind and {info.kind, wishes.kind} != ALIKE:
        raise UsageError(f"`{ref}` is a {info.kind}, not a {wishes.kind}", hint="leave `--kind` out")
    if wishes.kind:
        return wishes.kind
    if info.kind not in get_args(Kind):
        raise UsageError(f"`{ref}` is a {info.kind}, one part of a model", hint="add the folder of the whole model")
    return info.kind


def _base(wishes: Wishes, info: WeightsInfo | None, ref: ModelRef) -> str:
    known = info.base if info is not None else None
    if wishes.base and known not in (None, wishes.base) and wishes.base != "pocket":
        raise UsageError(f"`{ref}` is made for {known}, not for {wishes.base}", hint="leave `--base` out")
    if wishes.base:
        return wishes.base
    if info is not None and info.base in get_args(Base):
        return str(info.base)
    if info is not None and info.base is not None:
        raise UsageError(f"`{ref}` is made for {info.base}, which nothing here can use")
    raise _unknown("base", "sd15", ref)


def _version(wishes: Wishes, info: WeightsInfo | None) -> str | None:
    if wishes.version:
        return wishes.version
    return info.version if info and info.version in get_args(Family) else None


def _unknown(what: str, example: str, ref: ModelRef) -> UsageError:
    if ref.source in ("path", "alias"):
        return UsageError(f"nothing in `{ref}` tells its {what}", hint=f"say it: `--{what} {example}`")
    return UsageError(
        f"`{ref}` is not here yet, so nobody can tell its {what}",
        hint=f"say it, as in `--{what} {example}`, or fetch it first: `animdiff fetch {ref}`",
    )


def _description(ref: ModelRef, path: Path | None) -> str:
    name = path.name if path is not None and ref.source in ("path", "alias") else str(ref)
    return f"Added by you: {name}"
