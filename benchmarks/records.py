"""Where benchmarks of a GPU keep their records: one line of JSON each, appended as they come."""

import json
import os
from pathlib import Path
from typing import Any


def append(name: str, record: dict[str, Any]) -> None:
    """Append to `name`.jsonl in the folder that `BENCHMARK_RESULTS` names, by default `benchmarks/results`."""
    file = _file(name)
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(record) + "\n")


def recorded(name: str) -> list[dict[str, Any]]:
    """Read the records of `name`, the oldest first."""
    file = _file(name)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _file(name: str) -> Path:
    return Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).parent / "results") / f"{name}.jsonl"
