"""A cache of facts about large files (hash, kind), valid while the file is neither written nor replaced.

Hashing two gigabytes takes seconds, and nothing may be written beside the files of other programs. The cache folder
holds one JSON file per weight file. A lost or damaged entry is computed again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from animdiff_cli import paths
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.hashing import file_state, sha256_of
from animdiff_cli.files.untrusted import read_json


def cached_fact(path: Path, key: str, compute: Callable[[], Any], *, versioned: bool = False) -> Any:
    """Return the JSON value cached for `path` under `key`; compute and cache it if there is none.

    `versioned`: another version of this program may compute another value. Raises whatever `compute` raises, and
    OSError if `path` does not exist.
    """
    if versioned:
        key = f"{key} by {_program_version()}"
    state = [os.path.realpath(path), *file_state(path)]
    cache_file = _cache_file(path)
    facts = _read(cache_file, state)
    if key not in facts:
        facts = {**facts, key: compute()}
        _write(cache_file, {"state": state, "facts": facts})
    return facts[key]


def cached_sha256(path: Path) -> str:
    """Return a file's sha256. Reads the file only if it changed since its hash was cached."""
    return str(cached_fact(path, "sha256", lambda: sha256_of(path)))


@cache
def _program_version() -> str:
    return version("animdiff")


def _cache_file(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return paths.cache_dir() / "weights" / f"{name}.json"


def _read(cache_file: Path, state: list[Any]) -> dict[str, Any]:
    try:
        record = read_json(cache_file)
        return dict(record["facts"]) if record["state"] == state else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write(cache_file: Path, record: dict[str, Any]) -> None:
    with suppress(OSError):  # without a writable cache, facts are computed every time
        atomic_write_text(cache_file, json.dumps(record))
