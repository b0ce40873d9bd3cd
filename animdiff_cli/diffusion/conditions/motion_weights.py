"""How much each of several motion modules adds to the frames, constant or a curve."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from animdiff_cli.core.curves import Series
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.motion.module import PlugState
from animdiff_cli.motion.plug import plugged
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class MotionWeightsCondition(Condition):
    """Weigh the contributions of the motion modules that `motion.mix` combined, one series for each."""

    keeps_rows_equal: ClassVar[bool] = True

    weights: Sequence[Series]
    state: PlugState | None = None  # set by `prepare`

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["MotionWeightsCondition"]:
        """Find the modules."""
        attached = plugged(unet)
        yield replace(self, state=attached.motion.state) if attached else self

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Set the weights for this call; it adds no arguments."""
        if self.state:
            found = [weight.at(call.frames, call.step) for weight in self.weights]
            self.state.weights = tuple(
                weight if isinstance(weight, float) else call.latents.new_tensor(weight) for weight in found
            )
        return {}

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return the numbers that layers read in this call; None for numbers by frame."""
        found = tuple(weight.at(call.frames, call.step) for weight in self.weights)
        return found if all(isinstance(weight, float) for weight in found) else None
