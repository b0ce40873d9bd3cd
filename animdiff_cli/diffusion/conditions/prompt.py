"""The prompt, with its negative prompt where guidance is on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.diffusion.cross_attention import cached_text
from animdiff_cli.diffusion.shared_cfg import shared_cfg
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class PromptCondition(Condition):
    """Text for the cross-attentions: `embeds` [rows, L, D], the negative prompt first. All frames share it."""

    keeps_rows_equal: ClassVar[bool] = True

    embeds: Tensor
    share_early_layers: bool = False  # all conditions keep the rows of guidance equal up to the first cross-attention
    is_shared: bool = False  # the UNet takes one text for all frames; set by `prepare`

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["PromptCondition"]:
        """Project the text to keys and values once, and share the layers before it between both halves of guidance."""
        halves = shared_cfg(unet) if self.share_early_layers and len(self.embeds) == 2 else nullcontext()
        with cached_text(unet) as is_shared, halves:
            yield replace(self, is_shared=is_shared)

    def contribute(self, call: UNetCall) -> Mapping[str, Tensor]:
        """Return `encoder_hidden_states`: [rows, L, D], or [rows*F, L, D] where the UNet does not share text."""
        embeds = self.embeds if self.is_shared else self.embeds.repeat_interleave(len(call.frames), dim=0)
        return {"encoder_hidden_states": embeds}
