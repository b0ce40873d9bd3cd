"""100 kills at random moments over a batch of 30 clips of the bundled model."""

import json
import sys

import pytest

from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.plan import plan_batch
from tests.jobs.batch.kills import kill_often

pytestmark = pytest.mark.full


@pytest.mark.parametrize("workers", [1, 3])
def test_after_100_kills_every_clip_is_there_once_as_if_nothing_had_happened(tmp_path, workers):
    file = {
        "defaults": {"model": "pocket", "steps": 2, "num_frames": 2, "width": 64, "height": 64},
        "matrix": {"prompt": ["a red rocket", "a blue fish", "a green boat"], "seed": list(range(10))},
        "output": "{index}.gif",
    }
    plan = plan_batch(json.dumps(file), "night.yaml", output=str(tmp_path / "night"), device="cpu")
    options = BatchOptions(device="cpu", workers=workers, threads=1, retry=1000)
    hits = kill_often(plan, options, kills=100, seed=13, longest=12.0 if workers > 1 else 3.0)
    sys.stderr.write(f"{hits}\n")
    assert hits["main"] + hits["worker"] >= 100 and hits["clips"] > 0
