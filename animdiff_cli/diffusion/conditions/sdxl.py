"""SDXL's additional inputs: the pooled prompt and the size of the picture (Podell et al. 2023, section 2.2)."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import Condition, UNetCall
from animdiff_cli.diffusion.frame_texts import FrameTexts
from animdiff_cli.motion import MotionModule

#: original height and width, top and left of the crop, target height and width, in pixels
SizeIds = tuple[int, int, int, int, int, int]


def size_ids(height: int, width: int, motion: MotionModule | None = None) -> SizeIds:
    """Return the size conditioning of an uncropped picture, unless `motion` was trained with fixed sizes."""
    trained = motion.spec.traits.size_ids if motion else None
    return trained or (height, width, 0, 0, height, width)


def added_cond_kwargs(pooled: Tensor, sizes: Tensor, num_frames: int) -> dict[str, dict[str, Tensor]]:
    """Repeat `pooled` [B, P] and `sizes` [B, 6] for every frame, as the UNet's `added_cond_kwargs`."""
    rows = {"text_embeds": pooled, "time_ids": sizes}
    return {"added_cond_kwargs": {name: row.repeat_interleave(num_frames, dim=0) for name, row in rows.items()}}


@dataclass(frozen=True, slots=True)
class SdxlCondition(Condition):
    """Pooled prompts, [rows, P] or as tokens of `FrameTexts`, and one set of size ids for all frames."""

    keeps_rows_equal: ClassVar[bool] = True  # `shared_cfg` leaves SDXL alone

    pooled: Tensor | FrameTexts
    size_ids: SizeIds

    def contribute(self, call: UNetCall) -> Mapping[str, dict[str, Tensor]]:
        """Return `added_cond_kwargs`, one row per image."""
        frames = len(call.frames)
        if isinstance(self.pooled, FrameTexts):
            pooled, frames = self.pooled.at(call.frames, call.rows).squeeze(1), 1
        else:
            pooled = self.pooled[-call.rows :]
        sizes = torch.tensor([self.size_ids], dtype=torch.float32, device=pooled.device)
        return added_cond_kwargs(pooled, sizes.repeat(len(pooled), 1), frames)

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return nothing: its numbers are arguments."""
        return ()
