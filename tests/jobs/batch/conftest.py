"""Batches of small clips of the toy model."""

import json

import pytest

from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.plan import plan_resolved_batch
from animdiff_cli.jobs.batch.resolve import resolve_batch
from animdiff_cli.jobs.batch.run import run_batch


@pytest.fixture
def resolve(small, tmp_path):
    """Resolve one clip for each seed, in the folder `night`; `changes` are other settings."""

    def resolved(*seeds, output="{seed}.gif", formats=(), matrix=None, **changes):
        defaults = {key: str(value) if key in ("model", "motion_module") else value for key, value in small.items()}
        del defaults["seed"]
        file = {
            "defaults": defaults | changes,
            "matrix": matrix or {"prompt": ["a fox"], "seed": list(seeds)},
            "output": output,
        }
        return resolve_batch(json.dumps(file), "night.yaml", output=str(tmp_path / "night"), formats=formats)

    return resolved


@pytest.fixture
def plan(resolve):
    """Plan what `resolve` resolves."""
    return lambda *seeds, **settings: plan_resolved_batch(resolve(*seeds, **settings), device="cpu")


@pytest.fixture
def run():
    """Run a plan in this process; returns the result and the records of all events."""

    def ran(plan, **options):
        records = []
        result = run_batch(plan, BatchOptions(device="cpu", **options), records.append)
        return result, records

    return ran


@pytest.fixture
def night(tmp_path):
    """List what lies in the output folder, hidden files too."""

    def listed():
        folder = tmp_path / "night"
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

    return listed
