"""Feed-forward layers of transformers that compute a few frames at a time.

Their hidden layer is eight times as wide as the features: it is what takes most memory in a UNet call. Every token is
computed by itself, so groups change nothing but the size of matrix products.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn


def group_frames(networks: list[nn.Module], groups: int) -> None:
    """Let the feed-forward layers of some networks divide their frames into `groups`; 1 undoes it."""
    for network in networks:
        for name, module in network.named_modules():
            if name.rpartition(".")[2] == "ff":
                module.__dict__.pop("forward", None)
                if groups > 1:
                    module.forward = partial(_in_groups, module.forward, groups)


def _in_groups(forward: Callable[[Tensor], Tensor], groups: int, tokens: Tensor) -> Tensor:
    """Apply `forward` to groups of the images of `tokens` [..., P, D]."""
    images = tokens.flatten(0, -3)
    output = torch.empty_like(images)
    for part, into in zip(images.chunk(groups), output.chunk(groups), strict=True):
        into.copy_(forward(part))
    return output.view_as(tokens)
