"""Merge LoRAs into weights: W + scale · alpha/rank · ΔW, computed in float32 and rounded once, to the final dtype.

ΔW by family: LoRA and LoCon up · down; LoHa (arXiv 2108.06098) (a·b) ⊙ (c·d); LoKr (2309.14859) a ⊗ b;
DoRA (2402.09353) rescales the sum column by column. `lora_relative` has the families whose ΔW depends on W.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.lazy import LazyTensor, wrap_tensor
from animdiff_cli.weights.lora import LoraWeights, ModuleTensors
from animdiff_cli.weights.lora_relative import changed_weight, is_relative


def merge_loras(tensors: Mapping[str, LazyTensor], loras: Sequence[LoraWeights]) -> dict[str, LazyTensor]:
    """Merge LoRAs into canonical weights, computed when they are read, some rows at a time.

    A scale of 0 changes no bit. Raises `IntegrityError` if a LoRA changes a weight that is not in `tensors`, and, when
    a weight is read, if its change is not finite.
    """
    merged = dict(tensors)
    for lora in loras:
        if lora.scale == 0:
            continue
        for module, changes in lora.modules.items():
            weight = _weight(module, merged)
            if weight is None:
                raise IntegrityError(
                    f"{lora.source} changes `{module}`, which the checkpoint does not have",
                    hint="LoRA and checkpoint must have the same base: `animdiff inspect FILE`",
                )
            merged[weight] = _merged(merged[weight], changes, lora, module)
    return {name: replace(tensor, dtype=tensors[name].dtype) for name, tensor in merged.items()}


def merge_loras_in_place(weights: Mapping[str, Tensor], loras: Sequence[LoraWeights]) -> None:
    """Merge checked LoRAs into loaded `weights`, keyed by canonical name."""
    modules = {module for lora in loras for module in lora.modules}
    names = (name for module in modules for name in (f"{module}.weight", module) if name in weights)
    touched = {name: wrap_tensor(weights[name].detach().cpu()) for name in names}
    for name, tensor in merge_loras(touched, loras).items():
        weights[name].data = tensor.read().to(weights[name].device)


def lora_delta(tensors: ModuleTensors, alpha: float | None, shape: tuple[int, ...], start: int, stop: int) -> Tensor:
    """Compute rows `[start, stop)` of ΔW, alpha/rank included, in float32 and the weight's own shape."""
    change = _delta(tensors, alpha, shape, start, stop)
    return change * tensors["scalar"].read().float().flatten() if "scalar" in tensors else change


def _delta(tensors: ModuleTensors, alpha: float | None, shape: tuple[int, ...], start: int, stop: int) -> Tensor:
    rows = (stop - start, *shape[1:])
    if "diff" in tensors:
        return tensors["diff"].rows(start, stop).float().reshape(rows)
    if "up_bias" in tensors:
        return _scaled(tensors["up_bias"].rows(start, stop).float(), alpha, tensors["down"].num_rows)
    if "up" in tensors:
        return _scaled(_low_rank(tensors, start, stop), alpha, tensors["down"].num_rows).reshape(rows)
    if "hada_w1_a" in tensors:
        return _scaled(_hadamard(tensors), alpha, tensors["hada_w1_b"].num_rows).reshape(shape)[start:stop]
    full, rank = _kronecker(tensors)
    return _scaled(full, alpha if rank else None, rank or 1).reshape(shape)[start:stop]


def _weight(module: str, tensors: Mapping[str, LazyTensor]) -> str | None:
    return next((name for name in (f"{module}.weight", module) if name in tensors), None)


def _merged(weight: LazyTensor, tensors: ModuleTensors, lora: LoraWeights, module: str) -> LazyTensor:
    alpha = lora.alphas.get(module)
    base = weight.cast("F32")
    magnitude = tensors.get("dora_scale", tensors.get("magnitude"))

    def finite(change: Tensor) -> Tensor:
        if not bool(change.isfinite().all()):
            raise IntegrityError(
                f"{lora.source} is damaged: its change of `{module}` has NaN or infinite values",
                hint="leave it out, or use an earlier checkpoint of its training",
            )
        return change

    def rows(start: int, stop: int) -> Tensor:
        change = finite(lora_delta(tensors, alpha, base.shape, start, stop))
        return base.rows(start, stop).reshape(change.shape) + lora.scale * change

    def dora_rows(start: int, stop: int) -> Tensor:
        assert magnitude is not None
        whole = base.read()
        change = lora_delta(tensors, alpha, base.shape, 0, base.num_rows)
        directed = finite(_rescaled(whole + change, magnitude.read().float()))
        return (whole + lora.scale * (directed - whole))[start:stop]

    def relative_rows(start: int, stop: int) -> Tensor:
        return finite(changed_weight(base.read(), tensors, alpha, lora.scale))[start:stop]

    if is_relative(tensors):
        return replace(base, rows=relative_rows)
    return replace(base, rows=dora_rows if magnitude else rows)


def _scaled(change: Tensor, alpha: float | None, rank: int) -> Tensor:
    return change if alpha is None else change * (alpha / rank)


def _low_rank(tensors: ModuleTensors, start: int, stop: int) -> Tensor:
    up = tensors["up"].rows(start, stop).float().flatten(1)
    down = tensors["down"].read().float()
    if "mid" in tensors:
        changed: Tensor = torch.einsum("oa,abkl,bi->oikl", up, tensors["mid"].read().float(), down.flatten(1))
        return changed
    return up @ down.flatten(1)


def _hadamard(tensors: ModuleTensors) -> Tensor:
    halves = []
    for number in ("1", "2"):
        a, b = (tensors[f"hada_w{number}_{side}"].read().float() for side in "ab")
        core = tensors.get(f"hada_t{number}")
        halves.append(torch.einsum("ijkl,jr,ip->prkl", core.read().float(), b, a) if core else a @ b)
    return halves[0] * halves[1]


def _kronecker(tensors: ModuleTensors) -> tuple[Tensor, int | None]:
    """Return ΔW and its rank; None if both factors are full matrices, to which alpha does not apply."""
    first, rank_1 = _factor(tensors, "lokr_w1")
    second, rank_2 = _factor(tensors, "lokr_w2")
    if second.dim() == 4:
        first = first[:, :, None, None]
    return torch.kron(first, second.contiguous()), rank_2 or rank_1


def _factor(tensors: ModuleTensors, name: str) -> tuple[Tensor, int | None]:
    if name in tensors:
        return tensors[name].read().float(), None
    a, b = (tensors[f"{name}_{side}"].read().float() for side in "ab")
    core = tensors.get(name.replace("w2", "t2"))
    if core and name == "lokr_w2":
        return torch.einsum("ijkl,ip,jr->prkl", core.read().float(), a, b), b.shape[0]
    return (a @ b.flatten(1)).reshape(-1, *b.shape[1:]), b.shape[0]


def _rescaled(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Scale every column of `weight` (or row, if the magnitude is per row) to its learned norm."""
    per_column = magnitude.dim() > 1 and magnitude.shape[0] == 1
    flat = (weight.transpose(0, 1) if per_column else weight).flatten(1)
    length = flat.norm(dim=1)
    shape = [1] * weight.dim()
    shape[1 if per_column else 0] = -1
    rescaled: Tensor = weight * (magnitude.flatten() / length).reshape(shape)
    return rescaled
