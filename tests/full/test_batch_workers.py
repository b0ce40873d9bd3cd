"""Batches in several processes: the same bytes as in one, signals, two runs of one batch, a lost GPU context."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.manifest import Manifests
from animdiff_cli.jobs.batch.plan import plan_batch
from animdiff_cli.jobs.batch.run import run_batch
from animdiff_cli.paths import pocket_dir

pytestmark = [pytest.mark.full, pytest.mark.skipif(os.name != "posix", reason="POSIX signals")]

FILE = {
    "defaults": {"model": "pocket", "num_frames": 2, "width": 64, "height": 64},
    "matrix": {"prompt": ["a red rocket"], "seed": list(range(6))},
    "output": "{seed}.gif",
}
STILLS = {"motion_module": None, "num_frames": 1, "steps": 1, "width": 64, "height": 64}


def file(steps, **more):
    return FILE | {"defaults": FILE["defaults"] | {"steps": steps}} | more


def planned(folder, **more):
    return plan_batch(json.dumps(file(2, **more)), "night.yaml", output=str(folder), device="cpu")


def clips(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.gif")}


def lines(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_three_workers_render_the_same_bytes_as_one(tmp_path):
    for workers in (1, 3):
        options = BatchOptions(device="cpu", workers=workers, threads=1)
        result = run_batch(planned(tmp_path / str(workers)), options, lambda record: None)
        assert result.done == 6
    assert clips(tmp_path / "1") == clips(tmp_path / "3")
    assert len({line["worker"] for line in lines(tmp_path / "3") if line["state"] == "done"}) > 1


def test_each_worker_keeps_to_one_model_while_it_can(tmp_path):
    other = shutil.copytree(pocket_dir(), tmp_path / "other")
    matrix = {"prompt": ["a boat"], "model": ["pocket", str(other)], "seed": [1, 2, 3]}
    batch = planned(tmp_path / "night", matrix=matrix, output="{index}.gif", defaults=STILLS)
    assert len(batch.groups) == 2
    records = []
    run_batch(batch, BatchOptions(device="cpu", workers=2, threads=1), records.append)
    loaded = Counter(one["what"] for one in records if one["event"] == "loading")
    assert len(loaded) == 2 and sum(loaded.values()) <= 3


def start(folder, steps, workers):
    """Start the command in a process group of its own, with SIGINT as a terminal gives it to programs."""
    (folder / "night.yaml").write_text(json.dumps(file(steps)))
    command = Path(sys.executable).with_name("animdiff")
    words = [command, "batch", "night.yaml", "-o", "night", "--workers", str(workers), "--threads", "1", "--json"]
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=folder, start_new_session=True, preexec_fn=restore, **pipes)


def wait_for(process, *events):
    """Read events until one is of these kinds; returns it."""
    for line in process.stdout:
        record = json.loads(line)
        if record["event"] in events:
            return record
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_finishes_the_clips_in_progress(tmp_path, workers, number):
    process = start(tmp_path, 40, workers)
    wait_for(process, "step")
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in stderr
    states = Counter(line.state for line in Manifests(tmp_path / "night").latest().values())
    assert set(states) == {"done", "queued"} and 1 <= states["done"] <= workers
    assert "Ctrl-C again stops at once" in stdout
    assert sorted(path.name for path in (tmp_path / "night").iterdir() if path.suffix != ".gif") == ["manifest.jsonl"]


def test_the_second_signal_stops_all_processes_at_once_and_the_next_run_finishes(tmp_path):
    process = start(tmp_path, 400, 2)
    wait_for(process, "step")
    os.killpg(process.pid, signal.SIGINT)
    wait_for(process, "note")
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    states = Counter(line.state for line in Manifests(tmp_path / "night").latest().values())
    assert set(states) == {"interrupted", "queued"}
    assert sorted(path.name for path in (tmp_path / "night").iterdir()) == ["manifest.jsonl"]


def test_two_runs_of_one_batch_share_it_out(tmp_path):
    processes = [start(tmp_path, 8, 1) for _ in range(2)]
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    done = Counter(line["job"] for line in lines(tmp_path / "night") if line["state"] == "done")
    started = Counter(line["job"] for line in lines(tmp_path / "night") if line["state"] == "started")
    assert len(done) == 6 and set(done.values()) == set(started.values()) == {1}
    assert sorted(path.name for path in (tmp_path / "night").iterdir() if path.suffix != ".gif") == ["manifest.jsonl"]


def test_a_lost_gpu_context_fails_one_job_and_a_new_process_renders_the_others(tmp_path, monkeypatch):
    def lost(*given, **more):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(UNet2DConditionModel, "forward", lost)  # of this process only
    result = run_batch(planned(tmp_path / "night"), BatchOptions(device="cpu", threads=1), lambda record: None)
    assert (result.done, result.failed, result.exit_code) == (5, 1, 7)
    (failed,) = (line for line in lines(tmp_path / "night") if line["state"] == "failed")
    assert "CUDA error" in failed["error"]["message"]
