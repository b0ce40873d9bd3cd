"""A prompt that changes over the clip: each frame has a text of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.diffusion.cross_attention import Mixing, cached_text
from animdiff_cli.diffusion.frame_texts import FrameTexts
from animdiff_cli.diffusion.shared_cfg import SharedHalves, shared_cfg
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class PromptTravelCondition(Condition):
    """Texts for the cross-attentions, the row of the negative prompt first.

    Keys and values are linear in the text: those of each text are projected once, and mixed for the frames of a call.
    """

    keeps_rows_equal: ClassVar[bool] = True

    frames: FrameTexts
    share_early_layers: bool = False  # as in `PromptCondition`
    mixing: Mixing | None = None  # where the UNet's processors read the mix of a call; this and the next by `prepare`
    halves: SharedHalves | None = None

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["PromptTravelCondition"]:
        """Project the texts to keys and values once, and share the layers before them between both halves."""
        sharing = shared_cfg(unet) if self.share_early_layers and self.frames.pair.shape[1] == 2 else nullcontext()
        mixing = Mixing()
        with cached_text(unet, mixing) as is_shared, sharing as halves:
            yield replace(self, mixing=mixing if is_shared else None, halves=halves)

    def contribute(self, call: UNetCall) -> Mapping[str, Tensor]:
        """Return `encoder_hidden_states`: all texts [T, L, D], or [rows*F, L, D] where processors cannot mix them."""
        if self.halves:
            self.halves.are_there = call.rows == 2
        if self.mixing is None:
            return {"encoder_hidden_states": self.frames.at(call.frames, call.rows)}
        self.mixing.mix = self.frames.mix(call.frames, call.rows)
        return {"encoder_hidden_states": self.frames.texts}
