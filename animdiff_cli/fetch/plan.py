"""Before the first byte: what is here, what is missing, how large it is and whether it fits."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from animdiff_cli import paths
from animdiff_cli.errors import AnimdiffError, NetworkError, UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.disk import free_bytes, readable_failures
from animdiff_cli.fetch.http import TransientError
from animdiff_cli.fetch.install import destination, expected
from animdiff_cli.fetch.items import Item
from animdiff_cli.fetch.offer import Offer
from animdiff_cli.fetch.part import bytes_waiting
from animdiff_cli.fetch.presence import Fetched, find_present
from animdiff_cli.fetch.sources import find_offer, look
from animdiff_cli.fetch.transfer import part_path
from animdiff_cli.registry.model_dirs import ModelDir, model_dirs

ASKED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Planned:
    """An item and what is known of it: it is here, or a source offers it, or nobody could be asked."""

    item: Item
    present: Fetched | None
    offer: Offer | None

    @property
    def size(self) -> int | None:
        """Bytes in all; None where nobody knows."""
        if self.present:
            return self.present.bytes
        told = self.offer.size if self.offer else None
        return (self.item.entry.bytes if self.item.entry else None) or told

    @property
    def waiting(self) -> int:
        """Bytes that earlier runs brought, or that the Hub cache holds."""
        if self.present or self.offer is None:
            return bytes_waiting(part_path(self.item.target))
        path = destination(self.item, self.offer)
        if not self.offer.is_folder:
            targets = {self.offer.files[0].name: path}
        else:
            targets = {file.name: part_path(path) / file.name for file in self.offer.files}
        arrived = sum(t.stat().st_size if t.is_file() else bytes_waiting(part_path(t)) for t in targets.values())
        return arrived + sum(cached.stat().st_size for cached in self.offer.cached.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a call. Sizes in bytes; `needed` counts what is known of, `unknown` the items nobody knows the size of."""

    items: tuple[Planned, ...]
    free: int
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[Planned, ...]:
        """Items that are not here."""
        return tuple(planned for planned in self.items if planned.present is None)

    @property
    def needed(self) -> int:
        """Bytes still to come, as far as sizes are known."""
        return sum(max((planned.size or 0) - planned.waiting, 0) for planned in self.missing)

    @property
    def unknown(self) -> int:
        """Items whose size nobody knows."""
        return sum(planned.size is None for planned in self.missing)


def make_plan(items: Sequence[Item], network: Network) -> Plan:
    """Ask the sources of everything that is not here. Raises AnimdiffError for the first that none of them has."""
    with readable_failures(paths.models_dir()), ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        among = model_dirs()
        planned = pool.map(lambda item: _planned(item, among, lambda: _best_offer(item, network)), items)
        return Plan(tuple(planned), free_bytes(paths.models_dir()))


def make_dry_plan(items: Sequence[Item], network: Network) -> Plan:
    """Like `make_plan`, but ask only where the catalog does not tell the size, and never insist on an answer."""
    notes: list[str] = []
    with readable_failures(paths.models_dir()), ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        among = model_dirs()
        planned = tuple(pool.map(lambda item: _planned(item, among, lambda: _told_offer(item, network, notes)), items))
        return Plan(planned, free_bytes(paths.models_dir()), tuple(dict.fromkeys(notes)))


def _planned(item: Item, among: Sequence[ModelDir], ask: Callable[[], Offer | None]) -> Planned:
    present = find_present(item, among)
    return Planned(item, present, None if present else ask())


def _told_offer(item: Item, network: Network, notes: list[str]) -> Offer | None:
    """Ask the best source once; what it could not be asked goes into `notes`."""
    if item.entry is not None and item.entry.bytes is not None:
        return None
    try:
        return look(item.sources[0], network)
    except TransientError as failure:
        notes.append(str(failure.error))
    except NetworkError as failure:
        notes.append(str(failure))
    return None


def _best_offer(item: Item, network: Network) -> Offer:
    """Take the first source that has the right file; when none has, the failure of the best one counts."""
    failures: list[AnimdiffError] = []
    for ref in item.sources:
        try:
            offer = find_offer(ref, network)
            if not offer.is_folder:
                expected(item, offer.files[0], destination(item, offer))
        except UsageError:
            raise
        except AnimdiffError as failure:
            failures.append(failure)
        else:
            return replace(offer, ref=ref)
    raise failures[0]
