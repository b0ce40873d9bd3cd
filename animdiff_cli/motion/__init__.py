"""The paper: motion modules, and the plug that attaches them to a stock UNet."""

from animdiff_cli.motion.load import load_motion_module, read_motion_spec, save_motion_module
from animdiff_cli.motion.module import MotionModule
from animdiff_cli.motion.plug import check_fit, plug, plugged, unplug
from animdiff_cli.motion.spec import MotionSpec

__all__ = [
    "MotionModule",
    "MotionSpec",
    "check_fit",
    "load_motion_module",
    "plug",
    "plugged",
    "read_motion_spec",
    "save_motion_module",
    "unplug",
]
