"""Add a model to the user catalog: `animdiff models add`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from animdiff_cli.core.choices import Base, Family, Kind
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.items import GROUPS
from animdiff_cli.fetch.local import read_download_record, size_of
from animdiff_cli.registry.catalog import CatalogEntry, first_validation_error, load_catalog
from animdiff_cli.registry.file_facts_cache import cached_sha256
from animdiff_cli.registry.store import locate_any
from animdiff_cli.registry.user_catalog import add_entry
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.info import WeightsInfo

#: kinds that share a file layout: only the official layout tells a domain adapter from a LoRA
SAME_LAYOUT = {"lora", "domain-adapter"}


@dataclass(frozen=True, slots=True)
class EntryOverrides:
    """Entry fields that the user sets. Missing ones are read from the file or stay unknown."""

    kind: Kind | None = None
    base: Base | None = None
    version: Family | None = None
    description: str | None = None
    license: str | None = None
    requires: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    recommended: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class AddedEntry:
    """A new entry and the path of the catalog it was written to."""

    entry: CatalogEntry
    catalog: Path


def add(alias: str, source: str, overrides: EntryOverrides, *, overwrite: bool = False) -> AddedEntry:
    """Write a user catalog entry for `source`, a reference or path.

    Kind, base and version are read from local weights; a local file's sha256 is recorded. Raises UsageError for an
    alias that is invalid or in use, and for a kind or base that is neither set nor readable.
    """
    name = _checked_alias(alias)
    ref = parse_ref(source)
    path = _local_path(ref)
    info = identify(path) if path is not None else None
    origin = _origin(ref, path)
    fields: dict[str, Any] = {
        "alias": name,
        "kind": _kind(overrides, info, ref),
        "base": _base(overrides, info, ref),
        "version": _version(overrides, info),
        "description": overrides.description or _description(ref, path),
        **origin,
        "license": overrides.license,
        "requires": tuple(load_catalog().find(parse_ref(needed).target).alias for needed in overrides.requires),
        "trigger_words": overrides.trigger_words,
        "recommended": overrides.recommended or {},
    }
    try:
        entry = CatalogEntry.model_validate(fields)
    except ValidationError as error:
        raise UsageError(
            f"`{name}`: {first_validation_error(error)}", hint="see `animdiff models add --help`"
        ) from error
    return AddedEntry(entry, add_entry(entry, overwrite=overwrite))


def _checked_alias(alias: str) -> str:
    ref = parse_ref(alias)
    if ref.source != "alias":
        raise UsageError(
            f"`{alias}` cannot be an alias", hint="use letters, digits, `.`, `_`, `+` and `-`, without a file suffix"
        )
    if ref.target in GROUPS:
        raise UsageError(f"`{alias}` is the name of a model group", hint="choose another alias")
    return ref.target


def _local_path(ref: ModelRef) -> Path | None:
    """Return the local path; None if a remote reference is not downloaded. Raises NotFound for a missing file."""
    try:
        return locate_any(ref).path.absolute()
    except NotFound:
        if ref.source in ("path", "alias"):
            raise
        return None


def _origin(ref: ModelRef, path: Path | None) -> dict[str, Any]:
    """Return the entry's source or path, and its size and sha256 where they are known."""
    if ref.source == "alias" and ref.target in load_catalog():
        known = load_catalog().find(ref.target)
        if known.sources:
            return {"sources": known.sources, "file": known.file, "sha256": known.sha256, "bytes": known.bytes}
    if ref.source in ("path", "alias"):
        assert path is not None  # `_local_path` raises for a missing file
        return {
            "path": str(path),
            "bytes": size_of(path),
            "sha256": cached_sha256(path) if path.is_file() else None,
        }
    download = read_download_record(path) if path is not None else None
    recorded = {"sha256": download.sha256, "bytes": download.bytes} if download and download.sha256 else {}
    return {"sources": (str(ref),), **recorded}


def _kind(overrides: EntryOverrides, info: WeightsInfo | None, ref: ModelRef) -> str:
    if info is None:
        if overrides.kind is None:
            raise _cannot_detect("kind", "lora", ref)
        return overrides.kind
    if overrides.kind and info.kind != overrides.kind and {info.kind, overrides.kind} != SAME_LAYOUT:
        raise UsageError(f"`{ref}` is a {info.kind}, not a {overrides.kind}", hint="omit `--kind`")
    if overrides.kind:
        return overrides.kind
    if info.kind not in get_args(Kind):
        raise UsageError(
            f"`{ref}` is a {info.kind}, one component of a model", hint="add the folder of the whole model"
        )
    return info.kind


def _base(overrides: EntryOverrides, info: WeightsInfo | None, ref: ModelRef) -> str:
    known = info.base if info is not None else None
    if overrides.base and known not in (None, overrides.base) and overrides.base != "pocket":
        raise UsageError(f"the base of `{ref}` is {known}, not {overrides.base}", hint="omit `--base`")
    if overrides.base:
        return overrides.base
    if info is not None and info.base in get_args(Base):
        return str(info.base)
    if info is not None and info.base is not None:
        raise UsageError(f"the base of `{ref}` is {info.base}, which animdiff does not support")
    raise _cannot_detect("base", "sd15", ref)


def _version(overrides: EntryOverrides, info: WeightsInfo | None) -> str | None:
    if overrides.version:
        return overrides.version
    return info.version if info and info.version in get_args(Family) else None


def _cannot_detect(field: str, example: str, ref: ModelRef) -> UsageError:
    if ref.source in ("path", "alias"):
        return UsageError(f"cannot detect the {field} of `{ref}`", hint=f"set it, for example `--{field} {example}`")
    return UsageError(
        f"cannot detect the {field} of `{ref}` before it is downloaded",
        hint=f"set it, for example `--{field} {example}`, or run `animdiff fetch {ref}` first",
    )


def _description(ref: ModelRef, path: Path | None) -> str:
    name = path.name if path is not None and ref.source in ("path", "alias") else str(ref)
    return f"Added by the user: {name}"
