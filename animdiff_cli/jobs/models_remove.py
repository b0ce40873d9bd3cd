"""Remove models from animdiff's models folder, with their metadata files and unfinished downloads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.events import Emit, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.disk import readable_failures, target_lock
from animdiff_cli.fetch.local import size_of
from animdiff_cli.fetch.part import part_path
from animdiff_cli.files.atomic import remove as delete
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.metadata import metadata_path
from animdiff_cli.registry.model_dirs import download_path, model_dirs, ref_download_path
from animdiff_cli.registry.store import locate_any
from animdiff_cli.registry.user_catalog import remove_entry


@dataclass(frozen=True, slots=True)
class Removal:
    """The existing files and folders to remove, weights first."""

    name: str
    target: Path  # the path to lock
    paths: tuple[Path, ...]
    alias: str | None = None  # to remove from the user catalog

    @property
    def bytes(self) -> int:
        """Total size in bytes."""
        return sum(size_of(path) for path in self.paths)


def plan_removal(names: Sequence[str], *, forget: bool = False) -> tuple[Removal, ...]:
    """Return what `animdiff models rm` removes. With `forget`, the aliases are removed from the user catalog too.

    Raises NotFound for a model that is not on this machine, UsageError for one outside animdiff's models folder.
    """
    with readable_failures(paths.models_dir()):
        return tuple(_plan(name, forget) for name in dict.fromkeys(names))


def remove(removal: Removal, emit: Emit = ignore) -> None:
    """Carry out a planned removal, after other processes release its lock. Safe to repeat after an interruption."""
    if removal.paths:
        with readable_failures(removal.target), target_lock(removal.target, emit):
            for path in removal.paths:
                delete(path)
    if removal.alias:
        remove_entry(removal.alias)


def _plan(name: str, forget: bool) -> Removal:
    ref = parse_ref(name)
    alias = None
    if ref.source == "alias" and ref.target in load_catalog():
        entry = load_catalog().find(ref.target)
        alias = entry.alias if forget else None
        if forget and entry.alias not in load_catalog().user_aliases:
            raise UsageError(f"`{entry.alias}` is in the shipped catalog", hint="omit `--forget`")
        target = download_path(entry)
        is_own = entry.bundled is None and target.is_relative_to(paths.models_dir())
    elif ref.source in ("alias", "path"):
        target = locate_any(ref).path.absolute()
        is_own = any(weights.path.absolute() == target for weights in model_dirs()[0].weights)
    else:
        target, is_own = ref_download_path(ref), True
    existing = _with_companions(target) if is_own else ()
    if not existing and alias is None:
        raise _cannot_remove(name)
    return Removal(name, target, existing, alias)


def _cannot_remove(name: str) -> UsageError:
    """Return the error for a model outside animdiff's models folder. Raises NotFound if it is not on this machine."""
    try:
        path = locate_any(parse_ref(name)).path
    except NotFound as error:
        raise NotFound(f"nothing to remove: {error}", hint="`animdiff models list` shows local models") from error
    if path.is_relative_to(paths.pocket_dir()):
        return UsageError(f"`{name}` is bundled with animdiff and cannot be removed")
    is_user_alias = name.lower() in load_catalog().user_aliases
    forget = f"to remove only the alias, run `animdiff models rm --forget {name}`"
    hint = forget if is_user_alias else f"remove it with the program that owns it, or run `rm {path}`"
    return UsageError(f"`{name}` is outside animdiff's models folder: {path}", hint=hint)


def _with_companions(path: Path) -> tuple[Path, ...]:
    part = part_path(path)
    files = (path, part, part.with_name(f"{part.name}.jsonl"), metadata_path(path))
    return tuple(each for each in files if each.exists() or each.is_symlink())
