"""Tensors of which every process holds a part, and the whole ones that checkpoints keep."""

from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map


def gathered(tree: Any) -> Any:
    """Replace every tensor held in parts by the whole one, on the CPU of the first process; others get None there.

    All processes must call this. What is whole stays as it is.
    """
    return tree_map(_gathered, tree)


def like(tensor: Tensor, held: Tensor) -> Tensor:
    """Return of a whole tensor what this process holds of `held`: all of it, or a part. Nothing is sent."""
    if not isinstance(held, DTensor):
        return tensor
    return distribute_tensor(tensor.to(held.device), held.device_mesh, held.placements, src_data_rank=None)


def _gathered(value: Any) -> Any:
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.cpu() if value.device_mesh.get_rank() == 0 else None
