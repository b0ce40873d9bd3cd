"""Sharded training (FSDP): every process holds a part of each weight, and has a layer whole only while that computes.

Gradients and the optimiser's moments are parts too. PyTorch's `fully_shard` does it by hooks on modules, which the
motion plug and gradient checkpointing pass through: a plugged temporal transformer is called like any other module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.errors import UsageError
from animdiff_cli.motion import MotionModule

#: variable of `accelerate launch` that must not be true → key of its file, and what to do instead
UNSUPPORTED = {
    "FSDP_OFFLOAD_PARAMS": ("fsdp_offload_params", "leave it out; `--gradient-checkpointing` lowers memory"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("fsdp_activation_checkpointing", "add `--gradient-checkpointing` instead"),
}
PLAIN = "launch with `accelerate launch --multi_gpu`"


@dataclass(frozen=True, slots=True)
class Sharding:
    """What a launcher asks for. `reshard`: layers give up gathered weights between forward and backward pass."""

    reshard: bool = True

    @classmethod
    def from_environment(cls) -> "Sharding | None":
        """Read what `accelerate launch` says; None where it asks for none. Raises `UsageError` for what is not done."""
        if not _is_true("ACCELERATE_USE_FSDP"):
            return None
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise UsageError(
                "sharded training is done by FSDP version 2 only, and the launcher asks for version 1",
                hint="`fsdp_version: 2` in its file, or `accelerate launch --fsdp_version 2`",
            )
        for variable, (key, remedy) in UNSUPPORTED.items():
            if _is_true(variable):
                raise UsageError(f"`{key}` of the launcher is not supported", hint=remedy)
        reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower()
        if reshard not in ("true", "false"):
            raise UsageError(f"`fsdp_reshard_after_forward` is `{reshard}`", hint="set it to `true` or `false`")
        return cls(reshard == "true")

    def check(self, config: TrainConfig) -> None:
        """Raise `UsageError` for a run that cannot be sharded."""
        if config.stage != "motion-module":
            raise UsageError("only `train-motion` can be sharded (FSDP): a LoRA's weights fit one device", hint=PLAIN)
        if config.cuda_graph:
            raise UsageError("`cuda_graph` does not go with sharding (FSDP)", hint=f"leave it out, or {PLAIN}")
        if config.optimizer == "adamw8bit":
            raise UsageError("adamw8bit cannot be sharded (FSDP)", hint=f"use `--optimizer adamw`, or {PLAIN}")


@dataclass(frozen=True, slots=True)
class Shards:
    """The modules whose weights are held in parts; none where nothing is sharded."""

    units: tuple[FSDPModule, ...] = ()
    sharding: Sharding = Sharding()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather all weights on every process, so that inside one process may run the network or save it alone.

        All processes must enter.
        """
        for unit in self.units:
            unit.set_reshard_after_forward(False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in self.units:
                unit.reshard()
                unit.set_reshard_after_forward(self.sharding.reshard)


def shard(unet: Any, motion: MotionModule, device: torch.device, world: int, sharding: Sharding) -> Shards:
    """Spread the temporal transformers and the UNet's residual and attention layers; parameters become new objects.

    What else a UNet has stays whole: time embedding, first and last convolution, changes of resolution.
    """
    mesh = init_device_mesh(device.type, (world,))
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    layers = [layer for block in blocks for layer in (*block.resnets, *(getattr(block, "attentions", None) or ()))]
    for layer in layers:
        layer.to(memory_format=torch.contiguous_format)  # fully_shard takes no other
    transformers = [motion.transformer(name) for name in motion.spec.widths()]
    units = [fully_shard(unit, mesh=mesh, reshard_after_forward=sharding.reshard) for unit in (*transformers, *layers)]
    if hasattr(fsdp, "share_comm_ctx"):  # older torch keeps whole gradients until all of the backward pass is done
        fsdp.share_comm_ctx(units)
    return Shards(tuple(units), sharding)


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() == "true"
