"""What is on this machine already, and whether it is what it should be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.integrity import digest_of
from animdiff_cli.fetch.items import Item
from animdiff_cli.fetch.receipt import Receipt, make_receipt, read_receipt, receipt_path, write_receipt
from animdiff_cli.fetch.remote import Digest
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.external_models import find_in_model_dirs
from animdiff_cli.registry.model_dirs import ModelDir, model_dirs, weights_in_folder
from animdiff_cli.registry.store import not_downloaded

FOUND_HERE = "found on this machine"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Weights that are here. `files` holds the sha256 of each file of a folder, which has none of its own."""

    name: str  # the alias, or the reference
    path: Path
    sha256: str | None
    bytes: int
    cached: bool  # True if it was here before
    files: tuple[tuple[str, str], ...] = ()


def find_present(item: Item, among: Sequence[ModelDir] | None = None) -> Fetched | None:
    """Find an item that is here and check it: by its receipt, or by its bytes where it came without one.

    `among` are shelves that were looked through already. Raises IntegrityError for a file that is not the one that
    was fetched, or not the one the catalog describes; NotFound for one that can come from nowhere.
    """
    path = weights_in_folder(item.target) if item.in_folder else item.target
    entry = item.entry
    if path is None or not path.exists():
        return _elsewhere(item, entry, model_dirs() if among is None else among) if entry else None
    if entry is not None and not entry.sources:
        return Fetched(item.name, path, entry.sha256, size_of(path), True)
    if path.is_dir():
        return _present_folder(item, path) if any(path.iterdir()) else None
    receipt = read_receipt(path)
    if receipt is None:
        receipt = _adopt(item, path)
    _check(item, path, receipt)
    return Fetched(item.name, path, receipt.sha256, receipt.bytes, True)


def _elsewhere(item: Item, entry: CatalogEntry, among: Sequence[ModelDir]) -> Fetched | None:
    """Find an entry's weights in the folder of another program: nothing is written there, not even a receipt."""
    if not entry.sources:
        raise not_downloaded(entry)
    path = find_in_model_dirs(entry, among)
    return None if path is None else Fetched(item.name, path, entry.sha256, size_of(path), True)


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of everything in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def refuse_superseded(sha256: str, entry: CatalogEntry | None) -> None:
    """Raise IntegrityError for an upload that its author has replaced."""
    if entry and any(sha256.startswith(digits) for digits in entry.refused_sha256):
        raise IntegrityError(
            f"this `{entry.alias}` (sha256 {sha256[:12]}…) is an upload that its author has replaced",
            hint=f"remove it, then run `animdiff fetch {entry.alias}`",
        )


def _present_folder(item: Item, path: Path) -> Fetched:
    receipt = read_receipt(path)
    files = receipt.files if receipt else {}
    hashes = tuple((name, str(facts.get("sha256"))) for name, facts in files.items())
    lost = next((name for name, facts in files.items() if _size(path / name) != facts.get("size")), None)
    if lost is not None:
        raise IntegrityError(
            f"`{item.name}` is damaged: {path / lost}", hint=f"run `rm -r {path}`, then fetch it again"
        )
    return Fetched(item.name, path, None, size_of(path), True, hashes)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _adopt(item: Item, path: Path) -> Receipt:
    """Take a file that was put here by hand for what it is, once its hash is known."""
    digest = digest_of(path)
    receipt = make_receipt(FOUND_HERE, {path.name: digest}, revision=None, is_folder=False)
    _check(item, path, receipt)
    write_receipt(path, receipt)
    return receipt


def _check(item: Item, path: Path, receipt: Receipt) -> None:
    again = f"run `rm {path} {receipt_path(path)}`, then fetch it again"
    if path.stat().st_size != receipt.bytes:
        raise IntegrityError(f"{path} is not the file that was fetched: its size has changed", hint=again)
    entry = item.entry
    refuse_superseded(receipt.sha256 or "", entry)
    if entry and entry.sha256 and receipt.sha256 != entry.sha256:
        got, expected = (receipt.sha256 or "none")[:12], entry.sha256[:12]
        raise IntegrityError(f"{path} is not `{entry.alias}`: sha256 {got}…, expected {expected}…", hint=again)


def known_digest(path: Path) -> Digest | None:
    """Tell what a file that is gone was when it was first fetched: it was trusted then, so it must be the same now."""
    receipt = read_receipt(path)
    return None if receipt is None or receipt.sha256 is None else Digest(receipt.sha256, receipt.bytes)


def as_new(fetched: Fetched) -> Fetched:
    """The same weights, brought here just now."""
    return replace(fetched, cached=False)
