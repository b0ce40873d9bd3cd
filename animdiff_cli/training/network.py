"""What the second stage trains: the paper's motion module, or a network that takes its place in a comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.motion import MotionModule, MotionSpec
from animdiff_cli.training.export import save_whole_motion_module


@dataclass(frozen=True, slots=True)
class MotionNetwork:
    """How an untrained network of some layout is made, and how a trained one is written to a file with metadata.

    A run is resumed with a network of the same name only.
    """

    name: str
    make: Callable[[MotionSpec], MotionModule]
    save: Callable[[MotionModule, Path, Mapping[str, str]], None]


MOTION_MODULE = MotionNetwork("temporal transformer", MotionModule, save_whole_motion_module)
