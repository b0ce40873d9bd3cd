"""Local copies of weights: find and verify them, and record their origin in a download record beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from animdiff_cli.core.urls import redacted
from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.items import FetchItem
from animdiff_cli.fetch.remote import Digest, digest_of
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.external_models import find_in_model_dirs
from animdiff_cli.registry.metadata import metadata_path, read_metadata_json
from animdiff_cli.registry.model_dirs import ModelDir, model_dirs, weights_in_folder
from animdiff_cli.registry.store import not_downloaded

#: `source` in the download record of a file that another program or the user put there
LOCAL_SOURCE = "found on this machine"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Verified weights on this machine. For a folder, `sha256` is None and `files` lists the hash of each file."""

    name: str  # alias or reference
    path: Path
    sha256: str | None
    bytes: int
    cached: bool  # True if present before the call
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """Origin and hash of a download, stored in `NAME.json` beside `NAME`. For a folder, `files` has the hashes."""

    source: str  # the reference it was fetched from
    sha256: str | None
    bytes: int
    date: str  # ISO 8601, UTC
    etag: str | None = None
    revision: str | None = None  # commit or version, if the source has one
    files: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


_RECORD = TypeAdapter(DownloadRecord)
#: keys of a metadata file that belong to the download record
RECORD_KEYS = frozenset(field.name for field in fields(DownloadRecord))


def find_local(item: FetchItem, folders: Sequence[ModelDir] | None = None) -> Fetched | None:
    """Find an item on this machine and verify it: by its download record, or by its hash if it has none.

    `folders` are scanned model folders, to search several items in one scan. Raises IntegrityError for a file that
    differs from its download record or catalog entry, NotFound for a missing file that no source offers.
    """
    path = weights_in_folder(item.target) if item.in_folder else item.target
    entry = item.entry
    if path is None or not path.exists():
        return _find_external(item, entry, model_dirs() if folders is None else folders) if entry else None
    if entry is not None and not entry.sources:
        return Fetched(item.name, path, entry.sha256, size_of(path), True)
    if path.is_dir():
        return _verified_folder(item, path) if any(path.iterdir()) else None
    download_record = read_download_record(path)
    if download_record is None:
        download_record = _create_record(item, path)
    _verify_record(item, path, download_record)
    return Fetched(item.name, path, download_record.sha256, download_record.bytes, True)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def reject_superseded(sha256: str, entry: CatalogEntry | None) -> None:
    """Raise IntegrityError for an upload that its author has replaced."""
    if entry and any(sha256.startswith(digits) for digits in entry.refused_sha256):
        raise IntegrityError(
            f"this `{entry.alias}` (sha256 {sha256[:12]}…) is an old upload that its author has replaced",
            hint=f"remove it, then run `animdiff fetch {entry.alias}`",
        )


def make_download_record(
    source: str, digests: Mapping[str, Digest], *, revision: str | None, is_folder: bool
) -> DownloadRecord:
    """Create the download record of one file, or of the files of a folder."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    if is_folder:
        files = {name: asdict(digest) for name, digest in digests.items()}
        return DownloadRecord(source, None, sum(d.size for d in digests.values()), date, None, revision, files)
    (digest,) = digests.values()
    return DownloadRecord(source, digest.sha256, digest.size, date, digest.etag, revision)


def write_download_record(path: Path, download_record: DownloadRecord) -> None:
    """Write the download record of `path` atomically. Keeps all other keys of the metadata file."""
    content = {key: value for key, value in asdict(download_record).items() if value not in (None, {})}
    content |= {key: value for key, value in read_metadata_json(path).items() if key not in RECORD_KEYS}
    atomic_write_text(metadata_path(path), f"{json.dumps(content, indent=2, ensure_ascii=False)}\n")


def read_download_record(path: Path) -> DownloadRecord | None:
    """Read the download record of a file or folder; None if it is missing or invalid."""
    content = {key: value for key, value in read_metadata_json(path).items() if key in RECORD_KEYS}
    try:
        record = _RECORD.validate_python({"sha256": None, **content})
    except ValidationError:  # a metadata file without a download record
        return None
    return replace(record, source=redacted(record.source))


def _find_external(item: FetchItem, entry: CatalogEntry, folders: Sequence[ModelDir]) -> Fetched | None:
    """Find an entry's weights in the model folders of other programs. Writes nothing there."""
    if not entry.sources:
        raise not_downloaded(entry)
    path = find_in_model_dirs(entry, folders)
    return None if path is None else Fetched(item.name, path, entry.sha256, size_of(path), True)


def _verified_folder(item: FetchItem, path: Path) -> Fetched:
    download_record = read_download_record(path)
    files = download_record.files if download_record else {}
    hashes = tuple((name, str(facts.get("sha256"))) for name, facts in files.items())
    damaged = next((name for name, facts in files.items() if _file_size(path / name) != facts.get("size")), None)
    if damaged is not None:
        hint = f"run `rm -r {path}`, then fetch it again"
        raise IntegrityError(f"`{item.name}` is damaged: {path / damaged} is missing or has another size", hint=hint)
    return Fetched(item.name, path, None, size_of(path), True, hashes)


def _file_size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _create_record(item: FetchItem, path: Path) -> DownloadRecord:
    """Hash and verify a file that the user put there, then write its download record."""
    download_record = make_download_record(LOCAL_SOURCE, {path.name: digest_of(path)}, revision=None, is_folder=False)
    _verify_record(item, path, download_record)
    write_download_record(path, download_record)
    return download_record


def _verify_record(item: FetchItem, path: Path, download_record: DownloadRecord) -> None:
    hint = f"run `rm {path} {metadata_path(path)}`, then fetch it again"
    if path.stat().st_size != download_record.bytes:
        raise IntegrityError(f"{path} is not the file that was fetched: its size has changed", hint=hint)
    entry = item.entry
    reject_superseded(download_record.sha256 or "", entry)
    if entry and entry.sha256 and download_record.sha256 != entry.sha256:
        actual, expected = (download_record.sha256 or "none")[:12], entry.sha256[:12]
        raise IntegrityError(f"{path} is not `{entry.alias}`: sha256 {actual}…, expected {expected}…", hint=hint)
