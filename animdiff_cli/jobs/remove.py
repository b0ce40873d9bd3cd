"""Take weights out of our models folder, with all that a download puts beside them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.events import Emit, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.disk import readable_failures
from animdiff_cli.fetch.lock import turn
from animdiff_cli.fetch.presence import size_of
from animdiff_cli.fetch.receipt import receipt_path
from animdiff_cli.fetch.transfer import part_path
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.model_dirs import model_dirs
from animdiff_cli.registry.places import place, place_ref
from animdiff_cli.registry.store import locate_any
from animdiff_cli.registry.user_catalog import remove_entry


@dataclass(frozen=True, slots=True)
class Removal:
    """What will go: files and folders that are there, the weights first."""

    name: str
    target: Path  # what processes take turns with
    paths: tuple[Path, ...]
    alias: str | None = None  # to be taken out of a person's own catalog

    @property
    def bytes(self) -> int:
        """Bytes that this frees."""
        return sum(size_of(path) for path in self.paths)


def plan_removal(names: Sequence[str], *, forget: bool = False) -> tuple[Removal, ...]:
    """Settle what would go. With `forget` the aliases leave a person's own catalog as well.

    Raises NotFound for what is not here, UsageError for what is not ours: bundled, or in the folder of another
    program.
    """
    with readable_failures(paths.models_dir()):
        return tuple(_plan(name, forget) for name in dict.fromkeys(names))


def remove(removal: Removal, emit: Emit = ignore) -> None:
    """Remove what was planned, when no other process is busy with it. What is interrupted can be run again."""
    if removal.paths:
        with readable_failures(removal.target), turn(removal.target, emit):
            for path in removal.paths:
                _delete(path)
    if removal.alias:
        remove_entry(removal.alias)


def _plan(name: str, forget: bool) -> Removal:
    ref = parse_ref(name)
    alias = None
    if ref.source == "alias" and ref.target in load_catalog():
        entry = load_catalog().find(ref.target)
        alias = entry.alias if forget else None
        if forget and entry.alias not in load_catalog().own:
            raise UsageError(f"`{entry.alias}` is in the shipped catalog", hint="leave `--forget` out")
        target = place(entry)
        is_ours = entry.bundled is None and _is_below_models(target)
    elif ref.source in ("alias", "path"):
        target = locate_any(ref).path.absolute()
        is_ours = any(found.path.absolute() == target for found in model_dirs()[0].found)
    else:
        target, is_ours = place_ref(ref), True
    there = _with_what_lies_beside(target) if is_ours else ()
    if not there and alias is None:
        raise _nothing_to_remove(name)
    return Removal(name, target, there, alias)


def _nothing_to_remove(name: str) -> UsageError:
    """Say why: it is not here, or it is here and not ours."""
    try:
        path = locate_any(parse_ref(name)).path
    except NotFound as error:
        raise NotFound(f"nothing to remove: {error}", hint="what is here: `animdiff models list`") from error
    if path.is_relative_to(paths.pocket_dir()):
        return UsageError(f"`{name}` is part of the program", hint="nothing to do: it is only a few megabytes")
    forget = f"`animdiff models rm --forget {name}` takes the name out"
    is_named = name.lower() in load_catalog().own
    hint = forget if is_named else f"remove it with the program it belongs to, or: `rm {path}`"
    return UsageError(f"`{name}` is not in animdiff's models folder but at {path}", hint=hint)


def _is_below_models(path: Path) -> bool:
    return path.is_relative_to(paths.models_dir())


def _with_what_lies_beside(path: Path) -> tuple[Path, ...]:
    part = part_path(path)
    beside = (path, part, part.with_name(f"{part.name}.jsonl"), receipt_path(path))
    return tuple(each for each in beside if each.exists() or each.is_symlink())


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
