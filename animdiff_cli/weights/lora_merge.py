"""Bakes LoRAs into weights, some rows at a time: W + scale · alpha/rank · ΔW, computed in float32.

ΔW by family: LoRA and LoCon up · down; LoHa (arXiv 2108.06098) (a·b) ⊙ (c·d); LoKr (2309.14859) a ⊗ b;
DoRA (2402.09353) rescales the sum column by column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.lazy import Lazy
from animdiff_cli.weights.lora_layouts import module_of, read_alphas, read_names

Group = Mapping[str, Lazy]  # the tensors of one module by role


@dataclass(frozen=True, slots=True)
class Merge:
    """A LoRA to bake in: its tensors by the canonical weight they change, and its scale."""

    source: str
    groups: Mapping[str, Group]
    alphas: Mapping[str, float]
    scale: float


def open_merge(file: WeightFile, scale: float) -> Merge:
    """Read a LoRA for merging. Raises `IntegrityError` for keys of no known layout."""
    names = read_names(file)
    groups: dict[str, dict[str, Lazy]] = {}
    for name, tensor in names.items():
        groups.setdefault(module_of(name), {})[name.role] = tensor
    alphas = read_alphas(file, names)
    return Merge(file.path.name, groups, alphas.values if alphas else {}, scale)


def merge_all(tensors: Mapping[str, Lazy], merges: Sequence[Merge]) -> dict[str, Lazy]:
    """Bake LoRAs into canonical weights. Raises `IntegrityError` if one changes a weight that is not there."""
    merged = dict(tensors)
    for merge in merges:
        for module, group in merge.groups.items():
            weight = _weight(module, merged)
            if weight is None:
                raise IntegrityError(
                    f"{merge.source} changes `{module}`, which the checkpoint does not have",
                    hint="LoRA and checkpoint must be of one base: `animdiff inspect` tells",
                )
            merged[weight] = _changed(merged[weight], group, merge, module)
    return {name: tensor.cast(tensors[name].dtype) for name, tensor in merged.items()}


def delta(group: Group, alpha: float | None, shape: tuple[int, ...], start: int, stop: int) -> Tensor:
    """Compute rows `[start, stop)` of ΔW, alpha/rank included, in float32 and the weight's own shape."""
    rows = (stop - start, *shape[1:])
    if "up" in group:
        return _scaled(_low_rank(group, start, stop), alpha, group["down"].height).reshape(rows)
    if "hada_w1_a" in group:
        return _scaled(_hadamard(group), alpha, group["hada_w1_b"].height).reshape(shape)[start:stop]
    full, rank = _kronecker(group)
    return _scaled(full, alpha if rank else None, rank or 1).reshape(shape)[start:stop]


def _weight(module: str, tensors: Mapping[str, Lazy]) -> str | None:
    return next((name for name in (f"{module}.weight", module) if name in tensors), None)


def _changed(weight: Lazy, group: Group, merge: Merge, module: str) -> Lazy:
    alpha = merge.alphas.get(module)
    base = weight.cast("F32")
    magnitude = group.get("dora_scale", group.get("magnitude"))

    def rows(start: int, stop: int) -> Tensor:
        change = delta(group, alpha, base.shape, start, stop)
        return base.rows(start, stop).reshape(change.shape) + merge.scale * change

    def decomposed(start: int, stop: int) -> Tensor:
        assert magnitude is not None
        whole = base.read()
        directed = _redirected(whole + delta(group, alpha, base.shape, 0, base.height), magnitude.read().float())
        return (whole + merge.scale * (directed - whole))[start:stop]

    return replace(base, rows=decomposed if magnitude else rows)


def _scaled(change: Tensor, alpha: float | None, rank: int) -> Tensor:
    return change if alpha is None else change * (alpha / rank)


def _low_rank(group: Group, start: int, stop: int) -> Tensor:
    up = group["up"].rows(start, stop).float().flatten(1)
    down = group["down"].read().float()
    if "mid" in group:
        changed: Tensor = torch.einsum("oa,abkl,bi->oikl", up, group["mid"].read().float(), down.flatten(1))
        return changed
    return up @ down.flatten(1)


def _hadamard(group: Group) -> Tensor:
    halves = []
    for number in ("1", "2"):
        a, b = (group[f"hada_w{number}_{side}"].read().float() for side in "ab")
        core = group.get(f"hada_t{number}")
        halves.append(torch.einsum("ijkl,jr,ip->prkl", core.read().float(), b, a) if core else a @ b)
    return halves[0] * halves[1]


def _kronecker(group: Group) -> tuple[Tensor, int | None]:
    """Return ΔW and its rank, None where both factors are whole and alpha has no say."""
    first, rank_1 = _factor(group, "lokr_w1")
    second, rank_2 = _factor(group, "lokr_w2")
    if second.dim() == 4:
        first = first[:, :, None, None]
    return torch.kron(first, second.contiguous()), rank_2 or rank_1


def _factor(group: Group, name: str) -> tuple[Tensor, int | None]:
    if name in group:
        return group[name].read().float(), None
    a, b = (group[f"{name}_{side}"].read().float() for side in "ab")
    core = group.get(name.replace("w2", "t2"))
    if core and name == "lokr_w2":
        return torch.einsum("ijkl,ip,jr->prkl", core.read().float(), a, b), b.shape[0]
    return (a @ b.flatten(1)).reshape(-1, *b.shape[1:]), b.shape[0]


def _redirected(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Give every column (or row, if the magnitude is per row) of `weight` the length that was learned for it."""
    per_column = magnitude.dim() > 1 and magnitude.shape[0] == 1
    flat = (weight.transpose(0, 1) if per_column else weight).flatten(1)
    length = flat.norm(dim=1)
    shape = [1] * weight.dim()
    shape[1 if per_column else 0] = -1
    turned: Tensor = weight * (magnitude.flatten() / length).reshape(shape)
    return turned
