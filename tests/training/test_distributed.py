"""Two processes take the steps of one, and a run can change between one and two."""

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

from animdiff_cli.jobs.train import run_training
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.metrics_log import read_metrics
from animdiff_cli.weights.files import read_tensors

from .conftest import FSDP, SIZES, ToyClips


@pytest.mark.full  # three processes import torch, and two of them shard a model: half a minute
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(make_plan, launch_two, toy_motion_file):
    """MotionLoRA: averaged gradients. Motion module: one process starts, two sharded ones resume, one finishes."""
    clips = ToyClips(sizes=SIZES)

    def lora(out, batch):
        return make_plan(out=out, steps=3, batch=batch, data__size=128)

    def module(out, steps, batch):
        settings = {"motion_module": str(toy_motion_file), "data.size": 128, "ema": 0.9, "lr": 1e-3}
        sampling = {"save_every": 3, "keep": 9, "sample_every": 3, "sample_prompts": ("a fox",)}
        return make_plan("motion-module", out=out, steps=steps, batch=batch, **settings, **sampling)

    averaged, whole, moved = lora("averaged", batch=2), module("whole", 4, batch=4), module("moved", 4, batch=4)
    for plan in (lora("lora", batch=4), whole, module("moved", 1, batch=4)):
        run_training(plan, clips)
    held = launch_two(averaged, module("moved", 3, batch=2))
    sharded = weights_of(moved.result)
    run_training(moved, clips)

    assert losses(averaged) == pytest.approx(losses(lora("lora", batch=4)), rel=1e-5)
    ours, reference = weights_of(averaged.result), weights_of(lora("lora", batch=4).result)
    assert distance(ours, reference) < 0.01 * norm(reference)

    assert losses(moved) == pytest.approx(losses(whole), rel=1e-5)
    start = weights_of(toy_motion_file)
    for step in (3, 4):  # the last sharded step, and the step of one process after it
        ours, reference = (state(plan, step) for plan in (moved, whole))
        assert ours["adamw"]["param_groups"] == reference["adamw"]["param_groups"]
        for kind in ("weights", "averages"):
            assert distance(ours[kind], reference[kind]) < 0.01 * distance(start, reference[kind])
        for moment in ("exp_avg", "exp_avg_sq"):
            our_moments, reference_moments = (moments(tensors, moment) for tensors in (ours, reference))
            assert distance(our_moments, reference_moments) < 1e-3 * norm(reference_moments)
    averages = state(moved, 3)["averages"]
    assert all(torch.equal(tensor, averages[name].half()) for name, tensor in sharded.items())
    shown, expected = (read_clip(plan.out / "samples" / "step-000003-1.gif").frames for plan in (moved, whole))
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.95  # GIF palettes differ

    *plain, second, third = held  # a line per step
    trained = sum(tensor.numel() for tensor in start.values())
    assert plain == [[0, 0]] * 3
    assert second == third == [third[1] / 2, third[1]]
    assert third[1] > 4 * trained  # weights, two moments, their average, and the frozen UNet


def losses(plan):
    return [row.loss for row in read_metrics(plan.out / "loss.csv")]


def weights_of(path):
    """Read the trained weights, named as in checkpoints."""
    return {f"0.{name}": tensor for name, tensor in read_tensors(path).items() if "pos_encoder" not in name}


def state(plan, step):
    return torch.load(plan.out / "checkpoints" / f"step-{step:08d}.pt", weights_only=True)


def moments(checkpoint, name):
    return {number: values[name] for number, values in checkpoint["adamw"]["state"].items()}


def norm(tensors):
    return float(torch.stack([tensor.float().norm() for tensor in tensors.values()]).norm())


def distance(ours, reference):
    return norm({name: ours[name].float() - tensor.float() for name, tensor in reference.items()})


def test_the_example_config_files_load_in_accelerate():
    for name, kind in (("accelerate-multi-gpu.yaml", "MULTI_GPU"), ("fsdp.yaml", "FSDP")):
        config = load_config_from_file(str(FSDP.with_name(name)))
        assert (config.distributed_type.value, config.num_processes) == (kind, 2)


def test_one_process_needs_no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    distributed = DistributedContext.from_environment()
    assert distributed == DistributedContext(0, 1, 0) and distributed.is_main_process
    assert distributed.mean(torch.tensor([2.0])).tolist() == [2.0]
