"""Attention as batched matrix products, for CPUs.

torch's fused kernel is made for long sequences and heads of 64 numbers and more. Over 16 frames or 77 tokens, or with
heads of 8 numbers, most of its time is spent on what surrounds the arithmetic.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: scores in one part: those of one core then stay in its cache of 1 MB
PART = 256 * 1024
LANES = 16  # float32 numbers in a register of AVX-512
MASKED = -1e30


def is_plain(options: Mapping[str, Any]) -> bool:
    """Whether the options of `scaled_dot_product_attention` ask for nothing but a scale."""
    extras = ("dropout_p", "is_causal", "enable_gqa")
    return options.get("attn_mask") is None and not any(options.get(extra) for extra in extras)


def attention_products(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Compute attention of tensors `[..., tokens, D]`."""
    scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    # softmax accumulates half precision in float32, and autocast would keep a float32 copy
    with torch.autocast("cpu", enabled=False):
        return (scaled @ key.transpose(-1, -2)).softmax(dim=-1) @ value


def attention_in_parts(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Compute attention of tensors `[B, heads, tokens, D]` without gradients, a few heads at a time.

    Scores and softmax are in float32 for every dtype, as in torch's fused kernel.
    """
    shape, dtype, num_keys = query.shape, query.dtype, key.shape[2]
    width, heads = shape[-1], shape[0] * shape[1]
    scale = width**-0.5 if scale is None else scale
    # half precision is made contiguous first: torch converts strided tensors of few columns slowly
    query, key = (tokens.contiguous().float().view(heads, -1, width) for tokens in (query, key))
    query, value = query * scale, value.reshape(heads, num_keys, width)
    if missing := -num_keys % LANES:  # fill rows of scores up; the additional column masks what was added
        query, key = F.pad(query, (0, 1), value=1.0), F.pad(key, (0, 1, 0, missing))
        key[:, num_keys:, width] = MASKED
        value = F.pad(value, (0, 0, 0, missing))
    if width < LANES:
        value = F.pad(value, (0, LANES - width))
    output = torch.empty(heads, shape[2], value.shape[-1], dtype=dtype)
    count = max(1, PART * torch.get_num_threads() // (shape[2] * key.shape[1]))
    for start in range(0, heads, count):
        part = slice(start, start + count)
        scores = torch.bmm(query[part], key[part].transpose(1, 2))
        torch.softmax(scores, dim=-1, out=scores)
        torch.bmm(scores.to(dtype), value[part], out=output[part])
    return output[..., :width].view(shape)


def padded_heads(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Compute attention with torch's fused kernel and heads of `LANES` numbers, filled up with zeros."""
    width = query.shape[-1]
    scale = width**-0.5 if scale is None else scale
    query, key, value = (F.pad(tokens, (0, LANES - width)) for tokens in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=scale)[..., :width]
