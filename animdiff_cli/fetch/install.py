"""Install one item: lock it, use the Hub cache or download, verify, write the download record."""

from dataclasses import replace
from pathlib import Path

from animdiff_cli.core.events import BytesReceived, Downloaded, Emit, Note
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError, IntegrityError, NetworkError, UsageError
from animdiff_cli.fetch.disk import readable_failures, target_lock
from animdiff_cli.fetch.items import FetchItem
from animdiff_cli.fetch.local import (
    Fetched,
    find_local,
    make_download_record,
    read_download_record,
    reject_superseded,
    write_download_record,
)
from animdiff_cli.fetch.network import Network, host
from animdiff_cli.fetch.part import part_path
from animdiff_cli.fetch.remote import Digest, RemoteFile, ResolvedRef, digest_of, verify
from animdiff_cli.fetch.sources import resolve
from animdiff_cli.fetch.transfer import download_file
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.registry.metadata import metadata_path


def install_item(item: FetchItem, resolved: ResolvedRef, network: Network, emit: Emit) -> Fetched:
    """Install an item from its resolved source, or from its other sources if that one fails.

    If all sources fail, raises the AnimdiffError of the first.
    """
    installation = _Installation(item, network, emit)
    with readable_failures(item.target.parent), target_lock(item.target, emit):
        present = find_local(item)  # another process may have fetched it while this one waited
        if present is not None:
            return present
        try:
            return installation.install(resolved)
        except UsageError:
            raise
        except AnimdiffError as failure:
            others = [ref for ref in item.sources if ref != resolved.ref]
            return installation.install_from(others, failure)


def destination(item: FetchItem, resolved: ResolvedRef) -> Path:
    """Return the path of an item's file or folder."""
    return item.target / resolved.files[0].name if item.in_folder else item.target


def with_known_hash(item: FetchItem, remote: RemoteFile, path: Path) -> RemoteFile:
    """Add the hash and size from the catalog, or the hash from the download record of an earlier download.

    Raises IntegrityError if the source reports another hash.
    """
    recorded, entry = read_download_record(path), item.entry
    sha256 = (entry.sha256 if entry else None) or (recorded.sha256 if recorded else None)
    if sha256 and remote.sha256 not in (None, sha256):
        actual = (remote.sha256 or "")[:12]
        raise IntegrityError(
            f"{path.name} has changed on {host(remote.url)}: expected sha256 {sha256[:12]}…, got {actual}…",
            hint=_changed_hint(item, path),
        )
    if remote.sha256:
        reject_superseded(remote.sha256, entry)
    if entry and entry.sha256 and entry.bytes:
        return replace(remote, sha256=sha256, size=entry.bytes, exact_size=True)
    return replace(remote, sha256=sha256 or remote.sha256)


def _changed_hint(item: FetchItem, path: Path) -> str:
    if item.entry and item.entry.sha256:
        return "name another source, such as `hf:org/repo/file@revision`"
    return f"if you trust the new file: `rm {metadata_path(path)}`, then fetch it again"


class _Installation:
    """The installation of one item under its lock."""

    def __init__(self, item: FetchItem, network: Network, emit: Emit) -> None:
        self._item, self._network, self._emit = item, network, emit

    def install(self, resolved: ResolvedRef) -> Fetched:
        """Install the item from one source."""
        path = destination(self._item, resolved)
        path.parent.mkdir(parents=True, exist_ok=True)
        digests = self._install_folder(resolved, path) if resolved.is_folder else self._install_file(resolved, path)
        present = find_local(self._item)
        if present is None:
            raise NetworkError(f"{path} was removed during the download", hint="run it again")
        self._emit(Downloaded(path.name, sum(digest.size for digest in digests.values())))
        return replace(present, cached=False)

    def install_from(self, refs: list[ModelRef], failure: AnimdiffError) -> Fetched:
        """Install the item from the first of `refs` that succeeds; raise `failure` if none does."""
        for ref in refs:
            self._emit(Note(f"{failure}; trying {ref}"))
            try:
                return self.install(resolve(ref, self._network))
            except UsageError:
                raise
            except AnimdiffError:
                continue
        raise failure

    def _install_file(self, resolved: ResolvedRef, path: Path) -> dict[str, Digest]:
        entry = self._item.entry
        remote = with_known_hash(self._item, replace(resolved.files[0], name=path.name), path)
        is_recorded = remote.sha256 is not None and read_download_record(path) is not None
        digest = self._obtain(remote, resolved.cached.get(resolved.files[0].name), path)
        try:
            reject_superseded(digest.sha256, entry)
        except IntegrityError:
            path.unlink()
            raise
        download_record = make_download_record(
            str(resolved.ref), {path.name: digest}, revision=resolved.revision, is_folder=False
        )
        write_download_record(path, download_record)
        if not is_recorded and not (entry and entry.sha256):
            self._report_trusted(path, digest.sha256)
        return {path.name: digest}

    def _install_folder(self, resolved: ResolvedRef, path: Path) -> dict[str, Digest]:
        """Collect the files in `NAME.part`; rename it to the folder when all are complete."""
        staging = part_path(path)
        digests = {}
        for remote in resolved.files:
            target = staging / remote.name
            target.parent.mkdir(parents=True, exist_ok=True)
            named = replace(remote, name=f"{path.name}/{remote.name}")
            digest = _verified_digest(named, target) or self._obtain(named, resolved.cached.get(remote.name), target)
            self._emit(BytesReceived(named.name, digest.size, digest.size))
            digests[remote.name] = digest
        write_download_record(
            path, make_download_record(str(resolved.ref), digests, revision=resolved.revision, is_folder=True)
        )
        staging.replace(path)
        unhashed = [remote for remote in resolved.files if not remote.sha256 and not remote.git_sha1]
        if unhashed and resolved.files[0].url:
            self._report_trusted(path, f"of {counted(len(unhashed), 'file')}")
        return digests

    def _obtain(self, remote: RemoteFile, cached: Path | None, target: Path) -> Digest:
        """Link a file from the Hub cache, or download it."""
        if cached is not None and (digest := _link_from_cache(remote, cached, target)):
            self._emit(Note(f"{remote.name}: linked from the Hub cache, not downloaded"))
            return digest
        return download_file(remote, target, self._network, self._emit)

    def _report_trusted(self, path: Path, sha256: str) -> None:
        name, metadata_name = self._item.name, metadata_path(path).name
        trusted = f"`{name}` has no hash in the catalog: trusted on first use"
        self._emit(Note(f"{trusted}, sha256 {sha256} recorded in {metadata_name}"))


def _verified_digest(remote: RemoteFile, target: Path) -> Digest | None:
    """Return the digest of a file that an earlier run completed; None if it is missing or does not match."""
    if not target.is_file():
        return None
    digest = digest_of(target)
    try:
        verify(remote, digest, target)
    except IntegrityError:
        return None
    return digest if remote.size in (None, digest.size) else None


def _link_from_cache(remote: RemoteFile, cached: Path, target: Path) -> Digest | None:
    """Link to a file of the Hub cache without copying it; None if it is damaged or cannot be linked."""
    digest = digest_of(cached)
    try:
        verify(remote, digest, cached)
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
