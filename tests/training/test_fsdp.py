"""FSDP settings that are supported and refused. `test_distributed.py` tests sharded runs."""

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.train import run_training
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.fsdp import FsdpSettings

from .conftest import ToyClips

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FSDP_VERSION": "1"}, "version 2 only"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "`fsdp_offload_params`"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "`fsdp_activation_checkpointing`"),
        ({"FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD"}, "`fsdp_reshard_after_forward` is `full_shard`"),
    ],
)
def test_unsupported_launcher_settings_are_refused(monkeypatch, variables, message):
    for name, value in (FSDP | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message) as refused:
        DistributedContext.from_environment()
    assert refused.value.hint


def test_launcher_settings_are_read(monkeypatch):
    assert FsdpSettings.from_environment() is None
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    assert FsdpSettings.from_environment() == FsdpSettings(reshard_after_forward=True)
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    assert DistributedContext.from_environment().fsdp == FsdpSettings(reshard_after_forward=False)
    assert not DistributedContext.from_environment().is_sharded  # one process does not shard


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("motion-lora", {}, "`train-motion` only"),
        ("domain-adapter", {}, "`train-motion` only"),
        ("motion-module", {"cuda_graph": True}, "cuda_graph"),
        ("motion-module", {"optimizer": "adamw8bit"}, "adamw8bit"),
    ],
)
def test_runs_that_cannot_be_sharded_are_refused_before_anything_loads(make_plan, stage, settings, message):
    events = []
    with pytest.raises(UsageError, match=message) as refused:
        run_training(
            make_plan(stage, **settings),
            ToyClips(),
            events.append,
            distributed=DistributedContext(0, 2, 0, FsdpSettings()),
        )
    assert "--multi_gpu" in refused.value.hint and not events
