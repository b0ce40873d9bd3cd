import pytest
import torch

from animdiff_cli.jobs.train import run_training
from animdiff_cli.training.journal import read_rows
from animdiff_cli.training.processes import Processes
from animdiff_cli.weights.files import read_tensors

def test_two_processes_take_the_steps_of_one_with_twice_the_batch(make_plan, launch_two, clips):
    whole = make_plan(out="whole", batch=2, steps=3)
    run_training(whole, clips)
    shared = make_plan(out="shared", batch=1, steps=3)
    launch_two("--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", plan=shared)
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
