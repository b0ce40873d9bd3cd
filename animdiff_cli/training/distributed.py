"""Several processes on one run: `accelerate launch` or `torchrun` start them, gradients are averaged between them.

Every process computes its share of the same global batch (`draws.positions_of`), so two processes take the steps that
one would take with twice the batch.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from animdiff_cli.training.fsdp import Sharding


@dataclass(frozen=True, slots=True)
class DistributedContext:
    """This process among those of the run."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    sharding: Sharding | None = None

    @property
    def is_first(self) -> bool:
        """Only the first one writes and talks."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Say whether weights are spread over the processes. Every one must then make the same passes."""
        return self.sharding is not None and self.world > 1

    @classmethod
    def from_environment(cls) -> "DistributedContext":
        """Read what a launcher says. Raises `UsageError` for a sharding this program does not do."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        rank, world, local = (int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True))
        return cls(rank, world, local, Sharding.from_environment())

    @contextmanager
    def together(self, device: torch.device) -> Iterator[None]:
        """Meet the other processes for what is inside: NCCL between GPUs, gloo between CPUs.

        Those that have met before stay together afterwards.
        """
        if self.world == 1 or torch.distributed.is_initialized():
            yield
            return
        from accelerate import PartialState

        if device.type == "cpu":
            os.environ["ACCELERATE_USE_CPU"] = "true"
        PartialState(cpu=device.type == "cpu")
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()  # or torch complains at exit

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over all processes, in one message. One that nobody has stays absent.

        Those of sharded weights were averaged by the backward pass.
        """
        if self.world == 1 or self.sharded:
            return
        held = [parameter for parameter in parameters if parameter.requires_grad]
        if not held:
            return
        # a gradient absent here (a batch without spatial pass) may be present elsewhere
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        present = torch.tensor([p.grad is not None for p in held], dtype=torch.float32, device=grads[0].device)
        flat = self.mean(torch.cat([present, *(grad.flatten() for grad in grads)]))
        counts, flat = flat[: len(held)], flat[len(held) :]
        pieces = flat.split([grad.numel() for grad in grads])
        for parameter, piece, count in zip(held, pieces, counts.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter).clone() if count > 0 else None

    def mean(self, tensor: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)
            tensor = tensor / self.world
        return tensor

    def most(self, number: int, device: torch.device) -> int:
        """Return the largest of what the processes say."""
        if self.world == 1:
            return number
        said = torch.tensor(number, device=device)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        return int(said)

    def wait(self) -> None:
        """Let nobody go on before everybody is here."""
        if self.world > 1:
            torch.distributed.barrier()
