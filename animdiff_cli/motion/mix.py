"""Several motion modules of one layout in one: the weighted sum of what each of them adds to the frames."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from animdiff_cli.motion.module import MotionModule, PlugState, TemporalTransformer


class MixedTransformer(TemporalTransformer):
    """Temporal transformers of one plug point; each adds its contribution times its weight in `state.weights`."""

    def __init__(self, transformers: Sequence[TemporalTransformer], state: PlugState) -> None:
        nn.Module.__init__(self)
        self.transformers = nn.ModuleList(transformers)
        self.norm = transformers[0].norm  # whose dtype is that of all
        self.state = state

    def forward(self, hidden: Tensor, num_frames: int, *args: Any, **kwargs: Any) -> Tensor:
        """Take what each transformer takes."""
        mixed = hidden
        for transformer, weight in zip(self.transformers, self.state.weights, strict=True):
            if isinstance(weight, Tensor):
                by_image = weight.to(hidden).repeat(len(hidden) // num_frames)[:, None, None, None]
                mixed = mixed + by_image * (transformer(hidden, num_frames, *args, **kwargs) - hidden)
            elif weight:
                mixed = mixed + weight * (transformer(hidden, num_frames, *args, **kwargs) - hidden)
        return mixed


def mix(modules: Sequence[MotionModule]) -> MotionModule:
    """Combine modules of equal layout into the first, which then holds the transformers of all."""
    first = modules[0]
    first.state.weights = (1.0,) * len(modules)
    for name in first.spec.widths():
        transformers = [module.transformer(name) for module in modules]
        first.get_submodule(name).temporal_transformer = MixedTransformer(transformers, first.state)
    return first
