"""What the pocket tools write down."""

import json
from pathlib import Path


def write_json(file: Path, value: object, *, indent: int = 1) -> None:
    """Write a value as JSON, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(file)
