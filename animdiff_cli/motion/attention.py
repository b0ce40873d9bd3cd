"""Attention along frames: sequences of 16 to 32 tokens in batches of thousands, which kernels are not tuned for."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

#: CUDA's fused kernels launch one block per head, and a launch takes at most 65,535 of them. At 768 px a frame has
#: 9,216 positions of 8 heads.
MAX_HEADS = 65_535

#: Fastest first at the shapes of SD1.5 on an H100 in fp16 (`benchmarks/results/temporal_attention.jsonl`). By default
#: torch chooses a kernel that takes 1.4 times as long at the largest level.
CUDA_KERNELS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


def temporal_attention(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Attend along F at each of P positions. All tensors [B, F, P, D], with D split into `num_heads`.

    Position and head merge into one dimension: [B, P*heads, F, D/heads] is a view of the projections.
    """
    batch, frames, positions, width = query.shape
    heads_as_batch = (batch, frames, positions * num_heads, width // num_heads)
    query, key, value = (x.view(heads_as_batch).transpose(1, 2) for x in (query, key, value))
    attended = _attend(query, key, value)
    del query, key, value  # the copy below is where memory peaks
    return attended.transpose(1, 2).reshape(batch, frames, positions, width)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with all tensors [B, heads, F, D]."""
    if query.device.type != "cuda":
        return F.scaled_dot_product_attention(query, key, value)
    if torch.compiler.is_compiling():
        return _plain_attention(query, key, value)
    with sdpa_kernel(CUDA_KERNELS, set_priority=True):
        return attend_in_chunks(query, key, value, MAX_HEADS)


def attend_in_chunks(query: Tensor, key: Tensor, value: Tensor, max_heads: int) -> Tensor:
    """Attend with at most `max_heads` heads at a time; all tensors [B, heads, F, D]."""
    if query.shape[1] <= max_heads:
        return F.scaled_dot_product_attention(query, key, value)
    chunks = zip(*(torch.split(x, max_heads, dim=1) for x in (query, key, value)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*chunk) for chunk in chunks], dim=1)


def _plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by batched matrix products. The compiler fuses the steps between them, also in the backward pass."""
    scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
    attended: Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return attended
