"""Layers before the first cross-attention, computed once for both halves of classifier-free guidance.

Guidance runs a clip twice in one batch, without and with text. The first convolution, the first ResNet and the first
self-attention see no text: they are computed for one half and repeated for the other, by hooks on the stock UNet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.motion.unet import UNet


@dataclass(slots=True)
class SharedHalves:
    """Hooks of a layer that runs for one half of a batch."""

    are_there: bool = True  # the batch of this call has two halves

    def first(self, _layer: nn.Module, args: Any, kwargs: Any) -> Any:
        """Before the layer: leave the second half out."""
        if not self.are_there:
            return None
        return tuple(map(_halved, args)), {name: _halved(value) for name, value in kwargs.items()}

    def for_both(self, _layer: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
        """After the layer: repeat the half."""
        return torch.cat([output, output]) if self.are_there else None


@contextmanager
def shared_cfg(unet: UNet) -> Iterator[SharedHalves]:
    """Share early layers between the halves of every batch inside this context, while the batch has two.

    Both halves must hold the same latents at the same timestep. Nothing is shared where the halves differ earlier:
    SDXL adds the pooled prompt to the timestep embedding, and some UNets have no attention in the first block.
    """
    halves, handles = SharedHalves(), []
    for layer in _before_text(unet):
        handles.append(layer.register_forward_pre_hook(halves.first, with_kwargs=True))
        handles.append(layer.register_forward_hook(halves.for_both))
    try:
        yield halves
    finally:
        for handle in handles:
            handle.remove()


def _before_text(unet: UNet) -> list[nn.Module]:
    first = unet.down_blocks[0]
    attentions = getattr(first, "attentions", None)
    if unet.config.addition_embed_type is not None or not attentions:
        return []
    return [unet.conv_in, first.resnets[0], attentions[0].transformer_blocks[0].attn1]


def _halved(value: Any) -> Any:
    return value[: len(value) // 2] if isinstance(value, Tensor) else value
