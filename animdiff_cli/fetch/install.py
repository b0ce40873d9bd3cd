"""Bring one item here: take turns with other processes, use what another program has, download the rest, sign."""

from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli.core.events import BytesReceived, Downloaded, Emit, Note
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import AnimdiffError, IntegrityError, NetworkError, UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.disk import readable_failures
from animdiff_cli.fetch.http import host
from animdiff_cli.fetch.integrity import check, digest_of
from animdiff_cli.fetch.items import Item
from animdiff_cli.fetch.lock import turn
from animdiff_cli.fetch.offer import Offer
from animdiff_cli.fetch.presence import Fetched, as_new, find_present, known_digest, refuse_superseded
from animdiff_cli.fetch.receipt import make_receipt, read_receipt, receipt_path, write_receipt
from animdiff_cli.fetch.remote import Digest, Remote
from animdiff_cli.fetch.sources import find_offer
from animdiff_cli.fetch.transfer import part_path, transfer
from animdiff_cli.files.atomic import atomic_write


@dataclass(frozen=True, slots=True)
class _Bringing:
    """What stays the same while one item is brought here."""

    item: Item
    network: Network
    emit: Emit


def install_item(item: Item, offer: Offer, network: Network, emit: Emit) -> Fetched:
    """Bring an item here from the source that made the offer, or from its other sources if that one fails.

    Raises AnimdiffError: of the best source if all of them fail.
    """
    bringing = _Bringing(item, network, emit)
    with readable_failures(item.target.parent), turn(item.target, emit):
        present = find_present(item)  # another process may have brought it in the meantime
        if present is not None:
            return present
        try:
            return _bring(bringing, offer)
        except UsageError:
            raise
        except AnimdiffError as failure:
            others = [ref for ref in item.sources if ref != offer.ref]
            return _bring_from_elsewhere(bringing, others, failure)


def destination(item: Item, offer: Offer) -> Path:
    """Say where the file or folder of an offer will lie."""
    return item.target / offer.files[0].name if item.in_folder else item.target


def expected(item: Item, remote: Remote, path: Path) -> Remote:
    """Add what the catalog knows of a file, or what was recorded when it was first fetched.

    Raises IntegrityError where the source itself says that it has another file.
    """
    recorded = known_digest(path)
    entry = item.entry
    sha256 = (entry.sha256 if entry else None) or (recorded.sha256 if recorded else None)
    if sha256 and remote.sha256 not in (None, sha256):
        told = f"{host(remote.url)} has another {path.name} now: sha256 {(remote.sha256 or '')[:12]}…"
        raise IntegrityError(f"{told}, expected {sha256[:12]}…", hint=_how_to_accept(item, path))
    if remote.sha256:
        refuse_superseded(remote.sha256, entry)
    if entry and entry.sha256 and entry.bytes:
        return replace(remote, sha256=sha256, size=entry.bytes, pinned=True)
    return replace(remote, sha256=sha256 or remote.sha256)


def _how_to_accept(item: Item, path: Path) -> str:
    if item.entry and item.entry.sha256:
        return "name another source, such as `hf:org/repo/file@revision`"
    return f"if you trust the new one: `rm {receipt_path(path)}`, then fetch it again"


def _bring_from_elsewhere(bringing: _Bringing, others: list[ModelRef], failure: AnimdiffError) -> Fetched:
    for ref in others:
        bringing.emit(Note(f"{failure}; trying {ref}"))
        try:
            return _bring(bringing, find_offer(ref, bringing.network))
        except UsageError:
            raise
        except AnimdiffError:
            continue
    raise failure


def _bring(bringing: _Bringing, offer: Offer) -> Fetched:
    path = destination(bringing.item, offer)
    path.parent.mkdir(parents=True, exist_ok=True)
    digests = _bring_folder(bringing, offer, path) if offer.is_folder else _bring_file(bringing, offer, path)
    present = find_present(bringing.item)
    if present is None:
        raise NetworkError(f"{path} vanished while it was fetched", hint="run it again")
    bringing.emit(Downloaded(path.name, sum(digest.size for digest in digests.values())))
    return as_new(present)


def _bring_file(bringing: _Bringing, offer: Offer, path: Path) -> dict[str, Digest]:
    item = bringing.item
    remote = expected(item, replace(offer.files[0], name=path.name), path)
    trusted_before = remote.sha256 is not None and read_receipt(path) is not None
    digest = _get(bringing, remote, offer.cached.get(offer.files[0].name), path)
    try:
        refuse_superseded(digest.sha256, item.entry)
    except IntegrityError:
        path.unlink()
        raise
    write_receipt(path, make_receipt(str(offer.ref), {path.name: digest}, revision=offer.revision, is_folder=False))
    if not trusted_before and not (item.entry and item.entry.sha256):
        _say_trusted(bringing, path, digest.sha256)
    return {path.name: digest}


def _bring_folder(bringing: _Bringing, offer: Offer, path: Path) -> dict[str, Digest]:
    """Gather the files in `name.part`, which becomes the folder when the last one is there."""
    staging = part_path(path)
    digests = {}
    for remote in offer.files:
        target = staging / remote.name
        target.parent.mkdir(parents=True, exist_ok=True)
        named = replace(remote, name=f"{path.name}/{remote.name}")
        digest = _staged(named, target) or _get(bringing, named, offer.cached.get(remote.name), target)
        bringing.emit(BytesReceived(named.name, digest.size, digest.size))
        digests[remote.name] = digest
    receipt = make_receipt(str(offer.ref), digests, revision=offer.revision, is_folder=True)
    write_receipt(path, receipt)
    staging.replace(path)
    unhashed = [remote for remote in offer.files if not remote.sha256 and not remote.git_sha1]
    if unhashed and offer.files[0].url:
        _say_trusted(bringing, path, f"of {len(unhashed)} files")
    return digests


def _staged(remote: Remote, target: Path) -> Digest | None:
    """Take a file of a folder that an earlier run brought here, if it is still the right one."""
    if not target.is_file():
        return None
    digest = digest_of(target)
    try:
        check(remote, digest, target)
    except IntegrityError:
        return None
    return digest if remote.size in (None, digest.size) else None


def _get(bringing: _Bringing, remote: Remote, cached: Path | None, target: Path) -> Digest:
    if cached is not None and (digest := _take_from_cache(remote, cached, target)):
        bringing.emit(Note(f"{remote.name} is in the Hub cache: used from there, not downloaded"))
        return digest
    return transfer(remote, target, bringing.network, bringing.emit)


def _take_from_cache(remote: Remote, cached: Path, target: Path) -> Digest | None:
    """Use a file of the Hub cache without copying it; None if it is damaged or cannot be linked to."""
    digest = digest_of(cached)
    try:
        check(remote, digest, cached)
    except IntegrityError:
        return None
    try:
        with atomic_write(target) as hidden:
            _link(cached.resolve(), hidden)
    except OSError:
        return None
    return digest


def _link(source: Path, link: Path) -> None:
    try:
        link.hardlink_to(source)
    except OSError:  # the cache is on another disk
        link.symlink_to(source)


def _say_trusted(bringing: _Bringing, path: Path, sha256: str) -> None:
    name, receipt = bringing.item.name, receipt_path(path).name
    bringing.emit(Note(f"`{name}` has no hash in the catalog: trusted on first use, sha256 {sha256} kept in {receipt}"))
