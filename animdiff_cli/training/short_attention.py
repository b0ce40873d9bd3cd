"""Attention over short sequences on a CPU, as plain matrix products.

torch's fused kernel is made for long sequences. Over 16 frames or 77 tokens, its backward pass on a CPU takes two to
ten times as long as batched products around a softmax, and small models that are trained on CPUs have few others.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from animdiff_cli.diffusion.kernels.attention_products import attention_products, is_plain

#: limits for products. They store all attention scores, which is much for large pictures; on two cores the fused
#: kernel catches up at about 256 keys
MAX_QUERIES, MAX_KEYS = 256, 128


class ShortAttention(TorchFunctionMode):
    """Compute `scaled_dot_product_attention` as products inside the context if it is short and unmasked."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace one function; all others run unchanged."""
        options = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and is_plain(options) and _are_short(*args):
            query, key, value = args
            return attention_products(query, key, value, options.get("scale"))
        return func(*args, **options)


def quick_attention(device: torch.device) -> AbstractContextManager[object]:
    """Return the context for training passes: short attention as products on a CPU, no change elsewhere."""
    return ShortAttention() if device.type == "cpu" else nullcontext()


def _are_short(query: Tensor, key: Tensor, value: Tensor) -> bool:
    same = query.shape[:-2] == key.shape[:-2] and query.dtype == key.dtype == value.dtype
    return same and key.device.type == "cpu" and query.shape[-2] <= MAX_QUERIES and key.shape[-2] <= MAX_KEYS
