"""Layers before the first cross-attention, computed once for both halves of classifier-free guidance.

Guidance runs a clip twice in one batch, without and with text. The first convolution, the first ResNet and the first
self-attention see no text: they are computed for one half and repeated for the other, by hooks on the stock UNet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.motion.unet import UNet


@contextmanager
def shared_cfg(unet: UNet) -> Iterator[None]:
    """Share early layers between the halves of every batch inside this context.

    Both halves must hold the same latents at the same timestep. Nothing is shared where the halves differ earlier:
    SDXL adds the pooled prompt to the timestep embedding, and some UNets have no attention in the first block.
    """
    handles = []
    for layer in _before_text(unet):
        handles.append(layer.register_forward_pre_hook(_first_half, with_kwargs=True))
        handles.append(layer.register_forward_hook(_for_both))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before_text(unet: UNet) -> list[nn.Module]:
    first = unet.down_blocks[0]
    attentions = getattr(first, "attentions", None)
    if unet.config.addition_embed_type is not None or not attentions:
        return []
    return [unet.conv_in, first.resnets[0], attentions[0].transformer_blocks[0].attn1]


def _first_half(_layer: nn.Module, args: Any, kwargs: Any) -> Any:
    return tuple(map(_halved, args)), {name: _halved(value) for name, value in kwargs.items()}


def _halved(value: Any) -> Any:
    return value[: len(value) // 2] if isinstance(value, Tensor) else value


def _for_both(_layer: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return torch.cat([output, output])
