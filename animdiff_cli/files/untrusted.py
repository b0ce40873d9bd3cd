"""Read JSON from untrusted files, with limits on size and depth."""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path
from typing import Any

#: far above any config, index, metadata file or recipe; safetensors headers have their own limit
MAX_BYTES = 16 << 20
#: levels of lists and mappings; Python code that walks them recursively reaches its limit at about 300
MAX_DEPTH = 100


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read and parse a JSON file. Raises `OSError`, or `ValueError` as `read_bytes` and `parse_json` do."""
    return parse_json(read_bytes(path, max_bytes=max_bytes))


def parse_json(text: str | bytes, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse UTF-8 JSON. Raises `ValueError` if it is invalid, nested too deeply or contains too long a number."""
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        parsed = json.loads(decoded, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    check_nesting(parsed)
    return parsed


def check_nesting(content: object, max_values: float = inf) -> None:
    """Raise `ValueError` for lists and mappings nested too deeply, or with too many values in all.

    A value that is referred to twice, as by an alias of YAML, counts twice: code that reads it visits it twice.
    """
    level, count = _containers([content]), 0
    for _ in range(MAX_DEPTH):
        count += sum(map(len, level))
        if count > max_values:
            raise ValueError(f"more than {max_values:,} values")
        level = [
            inner for value in level for inner in _containers(value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES, allow_pipe: bool = False) -> bytes:
    """Read a regular file of at most `max_bytes` bytes; with `allow_pipe` also a pipe, as in `--config <(…)`.

    Raises `OSError` if it cannot be read, `ValueError` if it is larger or a device, pipe or socket.
    """
    mode = path.stat().st_mode  # before opening: opening a pipe waits for its writer
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not (stat.S_ISREG(mode) or (allow_pipe and stat.S_ISFIFO(mode))):
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    return content
