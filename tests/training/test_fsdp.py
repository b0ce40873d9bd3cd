"""What can be sharded, and what is refused before anything loads. `test_processes.py` shards."""

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.train import run_training
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.fsdp import Sharding

from .conftest import ToyClips

ASKED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


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
        DistributedContext.from_environment()
    assert refused.value.hint


def test_a_launcher_is_understood(monkeypatch):
    assert Sharding.from_environment() is None
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    assert Sharding.from_environment() == Sharding(reshard=True)
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    assert DistributedContext.from_environment().sharding == Sharding(reshard=False)
    assert not DistributedContext.from_environment().sharded  # one process has nothing to share


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
        run_training(
            make_plan(stage, **settings), ToyClips(), events.append, processes=DistributedContext(0, 2, 0, Sharding())
        )
    assert "--multi_gpu" in refused.value.hint and not events
