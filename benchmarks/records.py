"""Where benchmarks of a GPU keep their records: one line of JSON each, appended as they come."""

import json
import os
from pathlib import Path
from typing import Any


def append(name: str, record: dict[str, Any]) -> None:
    """Append to `name`.jsonl in the folder that `BENCHMARK_RESULTS` names, by default `benchmarks/results`."""
    folder = Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).parent / "results")
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
