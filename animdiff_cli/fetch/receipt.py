"""The receipt beside every file that was fetched: where it came from, and what it was when it came."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from animdiff_cli.fetch.remote import Digest
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.registry.metadata import metadata_path, read_metadata_json


@dataclass(frozen=True, slots=True)
class Receipt:
    """`name.json` beside the file or folder `name`. A folder has no sha256 of its own, its `files` have."""

    source: str  # the reference it was fetched by
    sha256: str | None
    bytes: int
    date: str  # ISO 8601, UTC
    etag: str | None = None
    revision: str | None = None  # commit, where the source has such a thing
    files: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


#: keys of a sidecar that are the receipt's
KEYS = frozenset(field.name for field in fields(Receipt))


def receipt_path(path: Path) -> Path:
    """Where the receipt of a file or folder lies."""
    return metadata_path(path)


def make_receipt(source: str, digests: Mapping[str, Digest], *, revision: str | None, is_folder: bool) -> Receipt:
    """Describe what has just come: one file, or the files of a folder."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    if is_folder:
        files = {name: asdict(digest) for name, digest in digests.items()}
        return Receipt(source, None, sum(d.size for d in digests.values()), date, None, revision, files)
    (digest,) = digests.values()
    return Receipt(source, digest.sha256, digest.size, date, digest.etag, revision)


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Put a receipt beside `path`, whole or not at all. What a person wrote there stays."""
    told = {key: value for key, value in asdict(receipt).items() if value not in (None, {})}
    told |= {key: value for key, value in read_metadata_json(path).items() if key not in KEYS}
    atomic_write_text(receipt_path(path), f"{json.dumps(told, indent=2, ensure_ascii=False)}\n")


def read_receipt(path: Path) -> Receipt | None:
    """Read the receipt of a file or folder; None where there is none that can be read."""
    told = {key: value for key, value in read_metadata_json(path).items() if key in KEYS}
    try:
        return Receipt(**{"sha256": None, **told})
    except TypeError:  # a sidecar without a receipt
        return None
