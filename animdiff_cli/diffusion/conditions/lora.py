"""A LoRA, MotionLoRA or domain adapter whose scale varies over frames or steps."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from animdiff_cli.core.curves import Series
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.motion.beside import BesideLora, BesideState, applied_beside
from animdiff_cli.motion.plug import plugged
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True, eq=False)
class LoraCondition(Condition):
    """Apply `lora` beside the weights for one clip."""

    keeps_rows_equal: ClassVar[bool] = True

    lora: BesideLora
    scale: Series
    state: BesideState | None = None  # set by `prepare`

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["LoraCondition"]:
        """Hook the layers that the LoRA changes."""
        attached = plugged(unet)
        network = attached.motion if self.lora.in_motion and attached else unet
        with applied_beside(self.lora, network) as state:
            yield replace(self, state=state)

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Set the scale for this call; it adds no arguments."""
        if self.state:
            scale = self.scale.at(call.frames, call.step)
            self.state.begin(scale if isinstance(scale, float) else call.latents.new_tensor(scale))
        return {}

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return the number that layers read in this call; None for numbers by frame."""
        scale = self.scale.at(call.frames, call.step)
        return scale if isinstance(scale, float) else None
