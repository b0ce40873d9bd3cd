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
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.files.untrusted import read_json


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
    return str(remember(path, "sha256", lambda: sha256_of(path)))


def _kept(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return paths.cache_dir() / "weights" / f"{name}.json"


def _read(kept: Path, state: list[Any]) -> dict[str, Any]:
    try:
        record = read_json(kept)
        return dict(record["facts"]) if record["state"] == state else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write(kept: Path, record: dict[str, Any]) -> None:
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        atomic_write_text(kept, json.dumps(record))
