"""Data-parallel training: `accelerate launch` or `torchrun` starts the processes, and gradients are averaged.

Every process computes its part of the same global batch (`sample_schedule.positions_of`): two processes take the same
steps as one process with twice the batch.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from animdiff_cli.training.fsdp import FsdpSettings


@dataclass(frozen=True, slots=True)
class DistributedContext:
    """This process and the number of processes in the run."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    fsdp: FsdpSettings | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and emits events."""
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether weights are sharded. Every process must then run the same forward and backward passes."""
        return self.fsdp is not None and self.world_size > 1

    @classmethod
    def from_environment(cls) -> "DistributedContext":
        """Read the launcher's environment variables. Raises `UsageError` for unsupported FSDP settings."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        rank, world_size, local_rank = (
            int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True)
        )
        return cls(rank, world_size, local_rank, FsdpSettings.from_environment())

    @contextmanager
    def process_group(self, device: torch.device) -> Iterator[None]:
        """Initialize the process group inside the context: NCCL between GPUs, gloo between CPUs.

        A process group that exists already is used and not destroyed.
        """
        if self.world_size == 1 or torch.distributed.is_initialized():
            yield
            return
        from accelerate import PartialState  # type: ignore[import-untyped]  # accelerate ships no types

        if device.type == "cpu":
            os.environ["ACCELERATE_USE_CPU"] = "true"
        PartialState(cpu=device.type == "cpu")
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()  # torch warns at exit otherwise

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over all processes in one all-reduce. A gradient that no process has stays None.

        Does nothing for sharded weights: their backward pass averages gradients.
        """
        if self.world_size == 1 or self.is_sharded:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if not trained:
            return
        # a gradient missing here (a batch without spatial pass) may be present in another process
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        present = torch.tensor([p.grad is not None for p in trained], dtype=torch.float32, device=gradients[0].device)
        flat = self.mean(torch.cat([present, *(gradient.flatten() for gradient in gradients)]))
        counts, flat = flat[: len(trained)], flat[len(trained) :]
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for parameter, piece, count in zip(trained, pieces, counts.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter).clone() if count > 0 else None

    def mean(self, tensor: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
            tensor = tensor / self.world_size
        return tensor

    def max(self, number: int, device: torch.device) -> int:
        """Return the maximum of a number over all processes."""
        if self.world_size == 1:
            return number
        tensor = torch.tensor(number, device=device)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return int(tensor)

    def wait_for_everyone(self) -> None:
        """Block until every process has arrived."""
        if self.world_size > 1:
            torch.distributed.barrier()
