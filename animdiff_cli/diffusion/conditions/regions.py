"""Regions of the picture with prompts of their own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from animdiff_cli.core.curves import Curve, Series, series
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.diffusion.cross_attention import with_regions
from animdiff_cli.diffusion.frame_texts import FrameTexts
from animdiff_cli.diffusion.regions import ShownRegions
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where a region is, and how much its text counts there."""

    masks: Tensor  # the distinct ones at the size of the latents, [N, h, w] from 0 to 1
    of_frame: tuple[int | None, ...]  # the mask of each new frame of the clip; None where it has no such region
    weight: float | Curve = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class RegionsCondition(Condition):
    """Let each region read a text of its own: `texts` [R, L, D], or with one row for each region.

    Known frames of a continued clip have the regions of the first new frame. Controls read the text of the clip alone.
    """

    keeps_rows_equal: ClassVar[bool] = True

    regions: Sequence[Region]
    texts: Tensor | FrameTexts
    weights: Sequence[Series] = ()  # of the regions; this and what follows are set by `prepare`
    num_known: int = 0
    shown: ShownRegions | None = None  # where processors read the regions of a call

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["RegionsCondition"]:
        """Let the cross-attentions of the UNet read the regions."""
        weights = [series(region.weight, clip.timeline) for region in self.regions]
        shown = ShownRegions(self.texts, [region.masks for region in self.regions])
        with with_regions(unet, shown):
            yield replace(self, weights=weights, num_known=clip.timeline.num_known, shown=shown)

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Set the regions of this call. Nothing is passed to the UNet itself."""
        assert self.shown is not None
        columns = []
        for region, series_of_weight in zip(self.regions, self.weights, strict=True):
            weight = series_of_weight.at(call.frames, call.step)
            weights = [weight] * len(call.frames) if isinstance(weight, float) else weight
            numbers = [region.of_frame[max(frame - self.num_known, 0)] for frame in call.frames]
            columns.append(zip(numbers, weights, strict=True))
        self.shown.show(call.frames, list(zip(*columns, strict=True)))
        return {}
