"""LyCORIS families whose change depends on the weight itself: (IA)³, GLoRA, Diag-OFT and BOFT.

With a scale s, as `lycoris-lora` merges them:

- (IA)³ (arXiv 2205.05638): W' = W ⊙ (1 + s·w), with w per output or input channel.
- GLoRA (2306.07967): W' = W + s · alpha/rank · (W·A₁·A₂ + B₁·B₂).
- Diag-OFT (2306.07280): W' = c ⊙ (I + s·(R − I))·W, with R block-diagonal, a Cayley transform, and c an optional scale
  per row.
- BOFT (2311.06243): as Diag-OFT, with a product of butterfly-permuted R.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from animdiff_cli.weights.lazy import LazyTensor

#: a role that every module of each of these families has
MARKERS = frozenset({"ia3", "a1", "oft_blocks"})
GLORA_ROLES = frozenset({"a1", "a2", "b1", "b2"})


def is_relative(tensors: Mapping[str, LazyTensor]) -> bool:
    """Return whether the change of a module depends on its weight."""
    return not MARKERS.isdisjoint(tensors)


def fits(tensors: Mapping[str, LazyTensor], shape: tuple[int, ...]) -> bool:
    """Return whether a module of these families can change a weight of this shape."""
    own = {role: tensor.shape for role, tensor in tensors.items()}
    if "oft_blocks" in own:
        _constraint(tensors, shape[0])  # raises if it is not one number
        return _rotation_fits(own, shape[0])
    if len(shape) < 2:
        return False
    if "ia3" in own:
        return prod(own["ia3"]) == shape[_axis(tensors)]
    return _glora_fits(own, shape)


def changed_weight(weight: Tensor, tensors: Mapping[str, LazyTensor], alpha: float | None, scale: float) -> Tensor:
    """Compute W' in float32 from the whole of W."""
    if "ia3" in tensors:
        channels = [1] * weight.dim()
        channels[_axis(tensors)] = -1
        return weight * (1 + scale * _read(tensors, "ia3").reshape(channels))
    if "a1" in tensors:
        factor = 1.0 if alpha is None else alpha / tensors["a2"].num_rows
        return weight + scale * factor * _glora(weight, tensors)
    rotated = _rotated(weight.flatten(1) if weight.dim() > 1 else weight[:, None], tensors, scale)
    if "rescale" in tensors:
        rotated = rotated * _read(tensors, "rescale").reshape(-1, 1)
    return rotated.reshape(weight.shape)


def _axis(tensors: Mapping[str, LazyTensor]) -> int:
    return 1 if "on_input" in tensors and float(tensors["on_input"].read()) else 0


def _glora(weight: Tensor, tensors: Mapping[str, LazyTensor]) -> Tensor:
    a1, a2, b1, b2 = (_read(tensors, role).flatten(1) for role in ("a1", "a2", "b1", "b2"))
    added = torch.einsum("om,mn...,ni->oi...", b1, _read(tensors, "bm"), b2) if "bm" in tensors else b1 @ b2
    changed: Tensor = torch.einsum("oi...,ij,jk->ok...", weight, a1, a2) + added.reshape(weight.shape)
    return changed


def _rotated(rows: Tensor, tensors: Mapping[str, LazyTensor], scale: float) -> Tensor:
    """Rotate the rows of W `[rows, columns]`: one block-diagonal product, or one per butterfly stage."""
    blocks = _read(tensors, "oft_blocks")
    size = blocks.shape[-1]
    skew = blocks - blocks.transpose(-1, -2)
    limit, norm = _constraint(tensors, rows.shape[0]), float(skew.norm()) + 1e-8
    if 0 < limit < norm:
        skew = skew * (limit / norm)
    identity = torch.eye(size)
    rotation = identity + scale * ((identity + skew) @ torch.linalg.inv(identity - skew) - identity)
    if rotation.dim() == 3:  # Diag-OFT multiplies by the transposed blocks
        turned: Tensor = rotation.transpose(1, 2) @ rows.reshape(-1, size, rows.shape[1])
        return turned.reshape(rows.shape)
    for stage, matrix in enumerate(rotation):
        half = 2**stage * (size // 2)
        mixed = rows.reshape(-1, 2, half, rows.shape[1]).transpose(1, 2)
        turned = matrix @ mixed.reshape(-1, size, rows.shape[1])
        rows = turned.reshape(-1, half, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
    return rows


def _constraint(tensors: Mapping[str, LazyTensor], rows: int) -> float:
    """Return the largest norm of Q, which these families store as alpha; 0 if there is no limit."""
    return float(tensors["alpha"].read()) * rows if "alpha" in tensors else 0.0


def _rotation_fits(own: Mapping[str, tuple[int, ...]], rows: int) -> bool:
    *stages, count, size, width = own["oft_blocks"]
    if size != width or count * size != rows or prod(own.get("rescale", (rows,))) != rows or len(stages) > 1:
        return False
    if not stages:
        return True
    return size % 2 == 0 and 1 <= stages[0] <= rows.bit_length() and rows % (size << (stages[0] - 1)) == 0


def _glora_fits(own: Mapping[str, tuple[int, ...]], shape: tuple[int, ...]) -> bool:
    a1, a2, b1, b2 = ((own[role][0], prod(own[role][1:])) for role in ("a1", "a2", "b1", "b2"))
    chain = [shape[1], *a1, *a2, shape[1]]
    if core := own.get("bm"):
        chain += [shape[0], *b1, *core[:2], *b2, shape[1]]
    else:
        chain += [shape[0], *b1, *b2, prod(shape[1:])]
    joined = all(one == other for one, other in list(pairwise(chain))[::2])
    return joined and (not core or core[2:] == shape[2:])


def _read(tensors: Mapping[str, LazyTensor], role: str) -> Tensor:
    return tensors[role].read().float()
