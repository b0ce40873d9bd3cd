"""How much a clip moves: a factor on what the temporal transformers add, constant or a curve."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from animdiff_cli.core.curves import Series
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.motion.module import PlugState
from animdiff_cli.motion.plug import plugged
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class MotionScaleCondition(Condition):
    """Scale the contribution of the motion module that is plugged in. Stills have none."""

    keeps_rows_equal: ClassVar[bool] = True

    scale: Series
    state: PlugState | None = None  # set by `prepare`

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["MotionScaleCondition"]:
        """Find the motion module. At the end its contribution is unscaled again."""
        attached = plugged(unet)
        if attached is None:
            yield self
            return
        state = attached.motion.state
        try:
            yield MotionScaleCondition(self.scale, state)
        finally:
            state.scale = 1.0

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Set the factor for this call; it adds no arguments."""
        if self.state:
            scale = self.scale.at(call.frames, call.step)
            self.state.scale = scale if isinstance(scale, float) else call.latents.new_tensor(scale)
        return {}

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return the number that layers read in this call; None for numbers by frame."""
        scale = self.scale.at(call.frames, call.step)
        return scale if isinstance(scale, float) else None
