"""Plan a fetch before the first byte: what is present, what is missing, its size, and the free disk space."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from animdiff_cli import paths
from animdiff_cli.errors import AnimdiffError, NetworkError, UsageError
from animdiff_cli.fetch.disk import free_bytes, readable_failures
from animdiff_cli.fetch.http import TransientError
from animdiff_cli.fetch.install import destination, with_known_hash
from animdiff_cli.fetch.items import FetchItem
from animdiff_cli.fetch.local import Fetched, find_local
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.part import part_path, resumable_bytes
from animdiff_cli.fetch.remote import ResolvedRef
from animdiff_cli.fetch.sources import resolve, resolve_once
from animdiff_cli.registry.model_dirs import ModelDir, model_dirs

MAX_REQUESTS = 8  # at once


@dataclass(frozen=True, slots=True)
class Planned:
    """An item with its local copy, or else its remote files. Both are None in a dry plan that made no request."""

    item: FetchItem
    present: Fetched | None
    resolved: ResolvedRef | None

    @property
    def size(self) -> int | None:
        """Total bytes; None if unknown."""
        if self.present:
            return self.present.bytes
        resolved_size = self.resolved.size if self.resolved else None
        return (self.item.entry.bytes if self.item.entry else None) or resolved_size

    @property
    def resumable(self) -> int:
        """Bytes that need no download: from earlier runs, or in the Hub cache."""
        if self.present or self.resolved is None:
            return resumable_bytes(part_path(self.item.target))
        path, files = destination(self.item, self.resolved), self.resolved.files
        targets = [part_path(path) / file.name for file in files] if self.resolved.is_folder else [path]
        received = sum(t.stat().st_size if t.is_file() else resumable_bytes(part_path(t)) for t in targets)
        return received + sum(cached.stat().st_size for cached in self.resolved.cached.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """All items of a fetch, and the free bytes on the disk of the models folder."""

    items: tuple[Planned, ...]
    free: int
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[Planned, ...]:
        """Items that are not on this machine."""
        return tuple(planned for planned in self.items if planned.present is None)

    @property
    def needed(self) -> int:
        """Bytes to download, without items of unknown size."""
        return sum(max((planned.size or 0) - planned.resumable, 0) for planned in self.missing)

    @property
    def unknown(self) -> int:
        """Number of missing items of unknown size."""
        return sum(planned.size is None for planned in self.missing)


def make_plan(items: Sequence[FetchItem], network: Network) -> Plan:
    """Find every item locally or at one of its sources. Raises the AnimdiffError of the first item that has none."""
    return _plan(items, lambda item: _resolve_best(item, network))


def make_dry_plan(items: Sequence[FetchItem], network: Network) -> Plan:
    """Plan without downloading. Requests only sizes that the catalog lacks; failed requests become `notes`."""
    notes: list[str] = []
    return _plan(items, lambda item: _resolve_if_needed(item, network, notes), notes)


def _plan(
    items: Sequence[FetchItem], resolve_item: Callable[[FetchItem], ResolvedRef | None], notes: Sequence[str] = ()
) -> Plan:
    with readable_failures(paths.models_dir()), ThreadPoolExecutor(MAX_REQUESTS) as pool:
        folders = model_dirs()
        planned = tuple(pool.map(lambda item: _planned(item, folders, resolve_item), items))
        return Plan(planned, free_bytes(paths.models_dir()), tuple(dict.fromkeys(notes)))


def _planned(
    item: FetchItem, folders: Sequence[ModelDir], resolve_item: Callable[[FetchItem], ResolvedRef | None]
) -> Planned:
    present = find_local(item, folders)
    return Planned(item, present, None if present else resolve_item(item))


def _resolve_if_needed(item: FetchItem, network: Network, notes: list[str]) -> ResolvedRef | None:
    """Request the size from the preferred source once, unless the catalog has it. Appends a failure to `notes`."""
    if item.entry is not None and item.entry.bytes is not None:
        return None
    try:
        return resolve_once(item.sources[0], network)
    except TransientError as failure:
        notes.append(str(failure.error))
    except NetworkError as failure:
        notes.append(str(failure))
    return None


def _resolve_best(item: FetchItem, network: Network) -> ResolvedRef:
    """Resolve the first source that has the right file. If all fail, raises the failure of the preferred one."""
    failures: list[AnimdiffError] = []
    for ref in item.sources:
        try:
            resolved = resolve(ref, network)
            if not resolved.is_folder:
                with_known_hash(item, resolved.files[0], destination(item, resolved))
        except UsageError:
            raise
        except AnimdiffError as failure:
            failures.append(failure)
        else:
            return resolved
    raise failures[0]
