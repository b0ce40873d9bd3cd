"""Output streams: data on stdout, messages on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from animdiff_cli.errors import AnimdiffError


def print_error(error: AnimdiffError, *, as_json: bool) -> None:
    """Print an error and its hint on stderr, or as JSON."""
    if as_json:
        record = {"error": str(error), "hint": error.hint, "code": error.exit_code}
        print(json.dumps(record, ensure_ascii=False), file=sys.stderr)
        return
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """Print one object per line (JSON Lines)."""
    print(json.dumps(record, ensure_ascii=False), flush=True)
