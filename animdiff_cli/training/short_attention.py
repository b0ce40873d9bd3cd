"""Attention over short sequences on a CPU, as plain products.

torch's fused kernel is made for long sequences. Over 16 frames or 77 tokens its backward pass on a CPU takes two to ten
times as long as batched products around a softmax, and the small models that are trained on CPUs have few others.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: of queries and keys: products keep all their scores, which is much where pictures are large; and on two cores the
#: kernels draw level at about 256 keys
MOST_QUERIES, MOST_KEYS = 256, 128


class ShortAttention(TorchFunctionMode):
    """While this is entered, attention that is short and unmasked is computed as products, whoever asks for it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace one function; all others run as they are."""
        given = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and _is_plain(given) and _are_short(*args):
            return product(*args, given.get("scale"))
        return func(*args, **given)


def quick_attention(device: torch.device) -> AbstractContextManager[object]:
    """Return what a forward and backward pass should run in: short attention as products on a CPU, else nothing."""
    return ShortAttention() if device.type == "cpu" else nullcontext()


def product(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Attend with tensors [..., tokens, D]."""
    scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    # the softmax of half-precision numbers is summed in float32, and autocast would keep a copy in it
    with torch.autocast("cpu", enabled=False):
        return (scaled @ key.transpose(-1, -2)).softmax(dim=-1) @ value


def _are_short(query: Tensor, key: Tensor, value: Tensor) -> bool:
    alike = query.shape[:-2] == key.shape[:-2] and query.dtype == key.dtype == value.dtype
    return alike and key.device.type == "cpu" and query.shape[-2] <= MOST_QUERIES and key.shape[-2] <= MOST_KEYS


def _is_plain(given: Mapping[str, Any]) -> bool:
    return given.get("attn_mask") is None and not given.get("dropout_p") and not given.get("is_causal")
