"""Sharded training takes the steps of one process, whoever began the run and whoever ends it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.train import run_training
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.training.fsdp import Sharding
from animdiff_cli.training.journal import read_rows
from animdiff_cli.training.processes import Processes
from animdiff_cli.weights.files import read_tensors

from .conftest import ToyClips

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "fsdp.yaml"
#: with four clips a step, one of two processes has clips of one size and the other of two
SIZES = [(128, 128), (128, 128), (128, 192), (128, 128)]
ASKED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def test_a_run_of_one_process_goes_on_sharded_in_two_and_ends_in_one(make_plan, launch_two, toy_motion_file):
    clips = ToyClips(sizes=SIZES)

    def plan(out, steps, batch):
        settings = {"motion_module": str(toy_motion_file), "data.size": 128, "ema": 0.9, "lr": 1e-3}
        watching = {"save_every": 1, "keep": 4, "sample_every": 3, "sample_prompts": ("a fox",)}
        return make_plan("motion-module", out=out, steps=steps, batch=batch, **settings, **watching)

    whole, moved = plan("whole", steps=4, batch=4), plan("moved", steps=4, batch=4)
    run_training(whole, clips)
    run_training(plan("moved", steps=1, batch=4), clips)
    printed = launch_two("--config_file", str(EXAMPLE), plan=plan("moved", steps=3, batch=2), sizes=SIZES)
    run_training(moved, clips)

    held = [json.loads(line) for line in printed.splitlines()]
    assert len(held) == 2
    assert all(here == total / 2 > 4 * trained(moved) / 2 for here, total in held)  # weights, moments and average
    for row, other in zip(rows(moved), rows(whole), strict=True):
        assert (row.step, row.loss) == (other.step, pytest.approx(other.loss, rel=1e-5))
    start = read_tensors(toy_motion_file)
    for step in (3, 4):  # the last that was sharded, and what one process made of it
        ours, theirs = state(moved, step), state(whole, step)
        assert ours["adamw"]["param_groups"] == theirs["adamw"]["param_groups"]
        for kind in ("weights", "averages"):
            assert distance(ours[kind], theirs[kind]) < 0.01 * distance(start, theirs[kind])
        for moment in ("exp_avg", "exp_avg_sq"):
            a, b = (moments(tensors, moment) for tensors in (ours, theirs))
            assert distance(a, b) < 1e-3 * length(b)
    shown, expected = (read_clip(plan.out / "samples" / "step-000003-1.gif").frames.astype(int) for plan in (moved, whole))
    assert np.abs(shown - expected).mean() < 0.5


def rows(plan):
    return read_rows(plan.out / "loss.csv")


def trained(plan):
    return sum(tensor.numel() for name, tensor in read_tensors(plan.result).items() if "pos_encoder" not in name)


def state(plan, step):
    return torch.load(plan.out / "checkpoints" / f"step-{step:08d}.pt", weights_only=True)


def moments(checkpoint, name):
    return {number: values[name] for number, values in checkpoint["adamw"]["state"].items()}


def length(tensors):
    return float(torch.stack([tensor.float().norm() for tensor in tensors.values()]).norm())


def distance(ours, theirs):
    """How far apart tensors of the same names are; the prefix of a checkpoint's names does not count."""
    ours = {f"0.{name}" if f"0.{name}" in theirs else name: tensor for name, tensor in ours.items()}
    return length({name: ours[name].float() - tensor.float() for name, tensor in theirs.items()})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FSDP_VERSION": "1"}, "version 2 only"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "`fsdp_offload_params`"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "`fsdp_activation_checkpointing`"),
        ({"FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD"}, "`fsdp_reshard_after_forward` is `full_shard`"),
    ],
)
def test_a_launchers_wish_that_cannot_be_fulfilled_is_refused(monkeypatch, variables, message):
    for name, value in (ASKED | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message) as refused:
        Processes.from_environment()
    assert refused.value.hint


def test_a_launcher_is_understood(monkeypatch):
    assert Sharding.from_environment() is None
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    assert Sharding.from_environment() == Sharding(reshard=True)
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    assert Processes.from_environment().sharding == Sharding(reshard=False)
    assert not Processes.from_environment().sharded  # one process has nothing to share


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("motion-lora", {}, "only `train-motion`"),
        ("domain-adapter", {}, "only `train-motion`"),
        ("motion-module", {"cuda_graph": True}, "cuda_graph"),
        ("motion-module", {"optimizer": "adamw8bit"}, "adamw8bit"),
    ],
)
def test_what_cannot_be_sharded_is_refused_before_anything_loads(make_plan, stage, settings, message):
    events = []
    with pytest.raises(UsageError, match=message) as refused:
        run_training(make_plan(stage, **settings), ToyClips(), events.append, processes=Processes(0, 2, 0, Sharding()))
    assert "--multi_gpu" in refused.value.hint and not events
