import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.train import run_training
from animdiff_cli.training.journal import read_rows
from animdiff_cli.training.processes import Processes
from animdiff_cli.weights.files import read_tensors

SCRIPT = Path(__file__).with_name("two_processes.py")
ROOT = Path(__file__).parents[2]


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(make_plan, clips, tmp_path):
    whole = make_plan(out="whole", batch=2, steps=3)
    run_training(whole, clips)
    shared = make_plan(out="shared", batch=1, steps=3)
    values = shared.config.model_dump(mode="json")
    (tmp_path / "settings.json").write_text(json.dumps({**values, "stage": "motion-lora"}))
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    options = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, *options, str(SCRIPT), str(tmp_path / "settings.json")], capture_output=True, text=True, env=environ
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = ([row.loss for row in read_rows(plan.out / "loss.csv")] for plan in (whole, shared))
    assert len(two) == 3
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    assert two == pytest.approx(one, rel=2e-3)
    ours, theirs = read_tensors(shared.result), read_tensors(whole.result)
    assert all(torch.allclose(ours[key].float(), theirs[key].float(), atol=2e-3) for key in theirs)


def test_a_run_of_one_process_needs_no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    here = Processes.from_environment()
    assert here == Processes(0, 1, 0) and here.is_first
    assert here.mean(torch.tensor([2.0])).tolist() == [2.0]


def test_sharding_is_refused_with_what_to_do_instead(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="FSDP") as refused:
        Processes.from_environment()
    assert "--multi_gpu" in refused.value.hint
