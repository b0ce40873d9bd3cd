"""The gate of GEGLU (Shazeer 2020, arXiv 2002.05202) in Triton: halves, exact GELU and product in one pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


def gated(projected: Tensor) -> Tensor:
    """Return the first half of the last dimension times the GELU of the second: [..., 2D] to [..., D]."""
    projected = projected.contiguous()
    width = projected.shape[-1] // 2
    output = torch.empty(*projected.shape[:-1], width, dtype=projected.dtype, device=projected.device)
    count = output.numel()
    _gate[(triton.cdiv(count, BLOCK),)](projected, output, count, width, BLOCK)
    return output


@triton.jit
def _gate(projected: tl.tensor, output: tl.tensor, count: tl.tensor, width: tl.tensor, block: tl.constexpr) -> None:
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = place < count
    first = projected + place + place // width * width  # every row of the input is twice as long
    value = tl.load(first, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(first + width, mask=mask, other=0.0).to(tl.float32)
    gate = gate * 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(output + place, (value * gate).to(output.dtype.element_ty), mask=mask)
