"""The prompt, with its negative prompt where guidance is on."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.diffusion.cross_attention import cached_text
from animdiff_cli.diffusion.shared_cfg import SharedHalves, shared_cfg
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class PromptCondition(Condition):
    """Text for the cross-attentions: `embeds` [rows, L, D], the negative prompt first. All frames share it."""

    keeps_rows_equal: ClassVar[bool] = True

    embeds: Tensor
    share_early_layers: bool = False  # all conditions keep the rows of guidance equal up to the first cross-attention
    is_shared: bool = False  # the UNet takes one text for all frames; this and what follows are set by `prepare`
    halves: SharedHalves | None = None
    last: Tensor | None = None  # the row with text: one tensor for all calls, by which its projections are found

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["PromptCondition"]:
        """Project the text to keys and values once, and share the layers before it between both halves of guidance."""
        sharing = shared_cfg(unet) if self.share_early_layers and len(self.embeds) == 2 else nullcontext()
        with cached_text(unet) as is_shared, sharing as halves:
            yield replace(self, is_shared=is_shared, halves=halves, last=self.embeds[-1:])

    def contribute(self, call: UNetCall) -> Mapping[str, Tensor]:
        """Return `encoder_hidden_states`: [rows, L, D], or [rows*F, L, D] where the UNet does not share text."""
        if self.halves:
            self.halves.are_there = call.rows == 2
        embeds = self.embeds if call.rows == len(self.embeds) or self.last is None else self.last
        return {
            "encoder_hidden_states": embeds if self.is_shared else embeds.repeat_interleave(len(call.frames), dim=0)
        }

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return nothing: the text is an argument."""
        return ()
