"""Sharded training (FSDP): every process holds a shard of each weight, and gathers a layer only while it computes.

Gradients and optimizer moments are sharded too. PyTorch's `fully_shard` works by module hooks, which are compatible
with the motion plug and with gradient checkpointing: a plugged temporal transformer is called like any other module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.errors import UsageError
from animdiff_cli.motion import MotionModule
from animdiff_cli.motion.unet import UNet

#: variable of `accelerate launch` that must not be true → key in its config file, and a remedy
UNSUPPORTED = {
    "FSDP_OFFLOAD_PARAMS": ("fsdp_offload_params", "leave it out; `--gradient-checkpointing` lowers memory"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("fsdp_activation_checkpointing", "add `--gradient-checkpointing` instead"),
}
WITHOUT_FSDP = "launch with `accelerate launch --multi_gpu`"


@dataclass(frozen=True, slots=True)
class FsdpSettings:
    """FSDP settings of the launcher. `reshard_after_forward`: free gathered weights before the backward pass."""

    reshard_after_forward: bool = True

    @classmethod
    def from_environment(cls) -> "FsdpSettings | None":
        """Read the variables of `accelerate launch`; None without FSDP. Raises `UsageError` if unsupported."""
        if not _is_true("ACCELERATE_USE_FSDP"):
            return None
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise UsageError(
                "sharded training supports FSDP version 2 only, and the launcher asks for version 1",
                hint="`fsdp_version: 2` in its config file, or `accelerate launch --fsdp_version 2`",
            )
        for variable, (key, remedy) in UNSUPPORTED.items():
            if _is_true(variable):
                raise UsageError(f"the launcher's `{key}` is not supported", hint=remedy)
        reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower()
        if reshard not in ("true", "false"):
            raise UsageError(f"`fsdp_reshard_after_forward` is `{reshard}`", hint="set it to `true` or `false`")
        return cls(reshard == "true")

    def check(self, config: TrainConfig) -> None:
        """Raise `UsageError` for a run that cannot be sharded."""
        if config.stage != "motion-module":
            raise UsageError(
                "FSDP is supported for `train-motion` only: a LoRA's weights fit on one device", hint=WITHOUT_FSDP
            )
        if config.cuda_graph:
            raise UsageError("`cuda_graph` does not support FSDP", hint=f"leave it out, or {WITHOUT_FSDP}")
        if config.optimizer == "adamw8bit":
            raise UsageError("adamw8bit does not support FSDP", hint=f"use `--optimizer adamw`, or {WITHOUT_FSDP}")


@dataclass(frozen=True, slots=True)
class ShardedModules:
    """The modules whose weights are sharded; empty without FSDP."""

    units: tuple[FSDPModule, ...] = ()
    settings: FsdpSettings = FsdpSettings()

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """Gather all weights on every process, so that one process alone can run or save the network.

        Every process must enter the context.
        """
        for unit in self.units:
            unit.set_reshard_after_forward(False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in self.units:
                unit.reshard()
                unit.set_reshard_after_forward(self.settings.reshard_after_forward)


def shard(
    unet: UNet, motion: MotionModule, device: torch.device, world_size: int, settings: FsdpSettings
) -> ShardedModules:
    """Shard the temporal transformers and the UNet's ResNets and attentions. Replaces their parameter objects.

    The rest of the UNet stays whole: time embedding, first and last convolution, up- and downsamplers.
    """
    mesh = init_device_mesh(device.type, (world_size,))
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    layers = [layer for block in blocks for layer in (*block.resnets, *(getattr(block, "attentions", None) or ()))]
    for layer in layers:
        layer.to(memory_format=torch.contiguous_format)  # required by fully_shard
    transformers = [motion.transformer(name) for name in motion.spec.widths()]
    units = [
        fully_shard(unit, mesh=mesh, reshard_after_forward=settings.reshard_after_forward)
        for unit in (*transformers, *layers)
    ]
    if hasattr(fsdp, "share_comm_ctx"):  # older torch keeps whole gradients until the backward pass ends
        fsdp.share_comm_ctx(units)
    return ShardedModules(tuple(units), settings)


def full_tensors(tree: Any) -> Any:
    """Replace every sharded tensor of a nested structure by the full tensor: on the CPU of rank 0, None elsewhere.

    Every process must call this. Other values stay as they are.
    """
    return tree_map(_full_tensor, tree)


def shard_like(tensor: Tensor, target: Tensor) -> Tensor:
    """Return the part of a full tensor that this process holds of `target`, without communication."""
    if not isinstance(target, DTensor):
        return tensor
    return distribute_tensor(tensor.to(target.device), target.device_mesh, target.placements, src_data_rank=None)


def _full_tensor(value: Any) -> Any:
    if not isinstance(value, DTensor):
        return value
    full = value.full_tensor()
    return full.cpu() if value.device_mesh.get_rank() == 0 else None


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() == "true"
