"""A batch on a real Ray cluster of two nodes on this machine, one of which is killed."""

import json
import os
import threading

import pytest

from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.manifest import Manifests
from animdiff_cli.jobs.batch.plan import plan_batch
from animdiff_cli.jobs.batch.run import run_batch

pytestmark = pytest.mark.full
pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402


@pytest.fixture
def cluster(monkeypatch):
    """Start two nodes with one core each."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # noqa: PTH109  what the nodes import
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield started
    started.shutdown()


@pytest.fixture
def plan(tmp_path):
    """Plan eight small clips of the bundled model, as GIF and as a folder of frames."""
    file = {
        "defaults": {"model": "pocket", "steps": 1, "num_frames": 2, "width": 64, "height": 64},
        "matrix": {"prompt": ["a red rocket", "a blue fish"], "seed": list(range(4))},
        "formats": ["gif", "frames"],
        "output": "{index}",
    }
    return lambda name: plan_batch(json.dumps(file), "night.yaml", output=str(tmp_path / name), device="cpu")


def contents(folder):
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name != "manifest.jsonl"}


def test_a_batch_on_two_nodes_loses_one_and_still_renders_every_clip(cluster, plan, tmp_path):
    second = cluster.add_node(num_cpus=1)
    undisturbed = run_batch(plan("alone"), BatchOptions(device="cpu", threads=1), lambda record: None)
    assert undisturbed.done == 8
    records, killed = [], []

    def write(record):
        records.append(record)
        workers = {one["worker"] for one in records if one["event"] == "done"}
        if workers == {"1", "2"} and record["event"] == "started" and not killed:  # both nodes are at work
            killed.append(True)
            threading.Thread(target=cluster.remove_node, args=(second,), kwargs={"allow_graceful": False}).start()

    result = run_batch(plan("night"), BatchOptions(ray=cluster.address, threads=1), write)
    assert killed and (result.done, result.failed, result.exit_code) == (8, 0, 0)
    lost = [record for record in records if record["event"] == "failed"]
    assert len(lost) <= 1 and all("lost" in record["error"] and record["retry"] for record in lost)
    assert contents(tmp_path / "night") == contents(tmp_path / "alone")
    assert {line.state for line in Manifests(tmp_path / "night").latest().values()} == {"done"}
