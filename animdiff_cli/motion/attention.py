"""Attention along frames: sequences of 16 to 32 with an enormous batch, the opposite of what kernels are tuned for."""

import torch.nn.functional as F
from torch import Tensor


def temporal_attention(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Attend along F at each of P positions. All tensors [B, F, P, D], D split into `num_heads`.

    Position and head merge into one stride, so [B, P*heads, F, D/heads] is a view of the projections.
    """
    batch, frames, positions, width = query.shape
    heads_as_batch = (batch, frames, positions * num_heads, width // num_heads)
    query, key, value = (x.view(heads_as_batch).transpose(1, 2) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value)
    return attended.transpose(1, 2).reshape(batch, frames, positions, width)
