"""Resolve model references to local files.

A name is looked up in the catalog, then in animdiff's models folder, then in model directories of other programs in
the order the user named them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.refs import WEIGHT_SUFFIXES, ModelRef, parse_ref, path_hint
from animdiff_cli.core.site_urls import canonical_ref
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.os_errors import readable_failures
from animdiff_cli.registry.catalog import CatalogEntry, Kind, load_catalog
from animdiff_cli.registry.external_models import find_external
from animdiff_cli.registry.hub_cache import find_in_hub_cache
from animdiff_cli.registry.metadata import read_metadata_json
from animdiff_cli.registry.model_dirs import (
    LocalWeights,
    ModelDir,
    download_path,
    is_present,
    model_dirs,
    ref_download_path,
    weights_in_folder,
)

__all__ = [
    "KIND_FLAGS",
    "SOURCES",
    "Located",
    "is_local",
    "local_entries",
    "local_path",
    "locate",
    "locate_any",
    "not_downloaded",
    "require_model",
    "unsupported",
]

#: kind → flag of `generate`; no command applies the other kinds yet
KIND_FLAGS: Mapping[str, str] = {
    **{kind: setting.flag for setting in WEIGHT_SETTINGS.values() for kind in setting.kinds},
    "clip-encoder": "--clip",
}
#: flag → what follows a reference after it
SOURCES: Mapping[str, str] = {"--control": "=VIDEO", "--image-prompt": "=PICTURE"}


@dataclass(frozen=True, slots=True)
class Located:
    """A local weight file or model folder, and its catalog entry if it has one."""

    path: Path
    entry: CatalogEntry | None


def locate(ref: ModelRef, *kinds: Kind) -> Located:
    """Return the local path of a reference to weights of one of `kinds`. Nothing is loaded or downloaded.

    Raises NotFound if it is not on this machine, UsageError if a name is ambiguous or of another kind, or if a folder
    cannot be read.
    """
    return _locate(ref, kinds)


def locate_any(ref: ModelRef) -> Located:
    """Return the local path of a reference of any kind. Raises like `locate`."""
    return _locate(ref, ())


def local_path(entry: CatalogEntry, dirs: Sequence[ModelDir] | None = None) -> Path | None:
    """Return the local path of an entry: downloaded by alias, downloaded by reference, or external; None if missing.

    Pass `dirs` (from `model_dirs`) to look up many entries without listing the folders again.
    """
    path = download_path(entry)
    if is_present(path):
        return path
    by_ref = (_downloaded(ref) for ref in map(parse_ref, entry.sources))
    for path_of_ref in by_ref:
        if path_of_ref is not None and entry.sha256 in (None, read_metadata_json(path_of_ref).get("sha256")):
            return path_of_ref
    return find_external(entry, model_dirs() if dirs is None else dirs)


def local_entries(kind: Kind) -> list[CatalogEntry]:
    """Return the catalog entries of a kind that are on this machine, including bundled ones."""
    dirs = model_dirs()
    return [entry for entry in load_catalog().of_kind(kind) if local_path(entry, dirs) is not None]


def is_local(entry: CatalogEntry) -> bool:
    """True if an entry's file or folder is on this machine."""
    return local_path(entry) is not None


def unsupported(kind: str | None) -> str | None:
    """Return why no command can use weights of this kind yet; None if one can.

    >>> unsupported("unet")
    'no command can use a unet yet'
    """
    return None if kind is None or kind in KIND_FLAGS else f"no command can use a {kind} yet"


def require_model(name: str | None) -> str:
    """Return `name`. Raises NotFound if it is empty, with a model to use as a hint."""
    if name:
        return name
    downloaded = [entry.alias for entry in local_entries("base") if entry.bundled is None]
    if downloaded:
        raise NotFound("no image model given", hint=f"a local one: `--model {downloaded[0]}`")
    raise NotFound(
        "no image model given",
        hint='try the bundled model: `animdiff generate --model pocket --prompt "a red rocket in the night sky"`',
    )


def not_downloaded(entry: CatalogEntry) -> NotFound:
    """Return the error for an entry that is not on this machine, with the command that gets it."""
    if entry.bundled is not None:
        return NotFound(f"`{entry.alias}` is missing from this installation", hint="reinstall animdiff")
    if entry.path is not None:
        hint = f"set its new path: `animdiff models add {entry.alias} PATH --overwrite`"
        return NotFound(f"`{entry.alias}` was not found at {entry.path}", hint=hint)
    return NotFound(f"`{entry.alias}` is not on this machine", hint=f"run `animdiff fetch {entry.alias}`")


def _locate(ref: ModelRef, kinds: Sequence[Kind]) -> Located:
    with _readable(ref):
        if ref.source == "path":
            return Located(_existing(paths.expanded(ref.target)), None)
        if ref.source != "alias":
            return Located(_remote(replace(ref, scale=None)), None)
        if ref.target in load_catalog():
            return _from_catalog(load_catalog().find(ref.target), kinds)
        return Located(_from_model_dirs(ref.target, kinds), None)


def _from_catalog(entry: CatalogEntry, kinds: Sequence[Kind]) -> Located:
    if kinds and entry.kind not in kinds:
        raise _wrong_kind(entry.alias, entry.kind, kinds)
    path = local_path(entry)
    if path is None:
        raise not_downloaded(entry)
    return Located(path, entry)


def _from_model_dirs(name: str, kinds: Sequence[Kind]) -> Path:
    """Find a file or model folder by name, ignoring case. The first directory that has it wins."""
    dirs = model_dirs()
    for folder in dirs:
        matches = list(dict.fromkeys(one for kind in kinds or (None,) for one in folder.named(name, kind)))
        if len(matches) > 1:
            raise _ambiguous(name, matches)
        if matches:
            return matches[0].path
    other_kinds = [weights.kind for folder in dirs for weights in folder.named(name) if weights.kind]
    if other_kinds:
        raise _wrong_kind(name, other_kinds[0], kinds)
    raise _unknown(name, dirs, kinds)


def _remote(ref: ModelRef) -> Path:
    site_ref = canonical_ref(ref)  # the name that `animdiff fetch` stores a URL of the Hub or Civitai under
    path = _downloaded(ref) or _downloaded(site_ref) or find_in_hub_cache(site_ref)
    if path is None:
        raise NotFound(f"`{ref}` is not on this machine", hint=f"run `animdiff fetch {ref}`")
    return path


def _downloaded(ref: ModelRef) -> Path | None:
    """Return what `animdiff fetch` downloaded for a reference; None if nothing."""
    target = ref_download_path(ref)
    path = weights_in_folder(target) if ref.names_one_file else target
    return path if path is not None and is_present(path) else None


def _existing(path: Path) -> Path:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_such_path(path) from None
    if not path.exists():
        raise NotFound(f"`{path}` is a broken symlink", hint="check the path")
    return path


def _no_such_path(path: Path) -> NotFound:
    if path.parent == Path() and path.suffix.lower() in WEIGHT_SUFFIXES:
        for weights in (weights for folder in model_dirs() for weights in folder.weights):
            if weights.path.name == path.name:
                message = f"no file or folder `{path}` in the current folder"
                return NotFound(message, hint=f"to use {weights.path}, type `{weights.name}`")
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    otherwise = path_hint(str(path)) or "check the path, or use an alias such as `pocket`"
    hint = did_you_mean(path.name, siblings, otherwise=otherwise)
    return NotFound(f"no file or folder `{path}`", hint=hint)


def _readable(ref: ModelRef) -> AbstractContextManager[None]:
    return readable_failures("look for", Path(ref.target), hint="check the path and its permissions")


def _ambiguous(name: str, matches: Sequence[LocalWeights]) -> UsageError:
    two = " and ".join(str(weights.path) for weights in matches[:2])
    return UsageError(f"{len(matches)} files match `{name}`: {two}", hint=f"use the path: `{matches[0].path}`")


def _unknown(name: str, dirs: Sequence[ModelDir], kinds: Sequence[Kind]) -> NotFound:
    """Return the error for an unknown name, with the closest alias or file name as a hint."""
    catalog = load_catalog()
    known = [alias for entry in catalog.entries for alias in (entry.alias, *entry.aliases)]
    known += [w.name for folder in dirs for w in folder.weights if not kinds or any(map(w.may_be, kinds))]
    hint = did_you_mean(name, known, otherwise=f"for a file or folder with this name, type `./{name}`")
    return NotFound(f"unknown model alias `{name}`", hint=hint)


def _wrong_kind(name: str, found: Kind, wanted: Sequence[Kind]) -> UsageError:
    flag = KIND_FLAGS.get(found)
    words = " or ".join(wanted)
    given = name + SOURCES.get(flag or "", "")
    hint = f"pass it as `{flag} {given}`" if flag else f"choose one of kind {words}"
    return UsageError(f"`{name}` is of kind {found}, not {words}", hint=hint)
