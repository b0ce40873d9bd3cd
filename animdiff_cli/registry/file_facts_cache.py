"""What was once found out about a large file, kept as long as the file stays as it is.

Hashing two gigabytes takes seconds, and files of other programs have no place beside them to write it down. Kept in
the cache folder, one JSON file per weight file; whatever is lost there is found out again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from animdiff_cli import paths


def remember(path: Path, what: str, find_out: Callable[[], Any]) -> Any:
    """Return what is known of `path` under the name `what`, JSON values only; where nothing is, find it out.

    A file of another size or date is another file. Raises whatever `find_out` raises, and OSError if it is gone.
    """
    status = path.stat()
    state = [os.path.realpath(path), status.st_size, status.st_mtime_ns]
    kept = _kept(path)
    facts = _read(kept, state)
    if what not in facts:
        facts = {**facts, what: find_out()}
        _write(kept, {"state": state, "facts": facts})
    return facts[what]


def remembered_sha256(path: Path) -> str:
    """Tell a file's sha256, without reading it again where it was read before."""
    return str(remember(path, "sha256", lambda: _hash(path)))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return paths.cache_dir() / "weights" / f"{name}.json"


def _read(kept: Path, state: list[Any]) -> dict[str, Any]:
    try:
        record = json.loads(kept.read_text(encoding="utf-8"))
        return dict(record["facts"]) if record["state"] == state else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write(kept: Path, record: dict[str, Any]) -> None:
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}.new")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(record), encoding="utf-8")
        fresh.replace(kept)
    except OSError:  # a cache that cannot be written costs time, nothing else
        with suppress(OSError):
            fresh.unlink()
