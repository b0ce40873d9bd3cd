"""PIA (Zhang et al. 2023, arXiv 2312.13964): a picture and how alike the frame is to it, as channels of the UNet."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True, eq=False)
class PiaCondition(Condition):
    """Append `channels` to the latents, and widen the first convolution of the UNet by `weight` for them.

    The part for the latents and the bias stay those of the image model, as where the official code loads a
    personalised model.
    """

    keeps_rows_equal: ClassVar[bool] = True

    channels: Tensor  # score and latents of the picture of each frame, [1, 5, F, h, w]
    weight: Tensor  # [D, 5, 3, 3]

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["PiaCondition"]:
        """Widen the first convolution inside the context."""
        with widened(unet.conv_in, self.weight):
            yield replace(self, channels=self.channels.to(clip.device))

    def contribute(self, call: UNetCall) -> Mapping[str, Tensor]:
        """Return the channels as `extra_channels`."""
        images = self.channels[0, :, list(call.frames)].transpose(0, 1)
        return {"extra_channels": torch.cat([images] * call.rows).to(call.latents)}


@contextmanager
def widened(conv: nn.Module, weight: Tensor) -> Iterator[None]:
    """Let a convolution of C channels take C+E inside this context, with `weight` [D, E, k, k] for the last ones.

    Afterwards it holds the parameter that it held before.
    """
    assert isinstance(conv, nn.Conv2d)
    own, own_channels = conv.weight, conv.in_channels
    wide = torch.cat([own.detach(), weight.to(own)], dim=1).contiguous(memory_format=torch.channels_last)
    conv.weight, conv.in_channels = nn.Parameter(wide, requires_grad=False), wide.shape[1]
    try:
        yield
    finally:
        conv.weight, conv.in_channels = own, own_channels
