"""AnimateDiff as a command-line program and a small Python API.

>>> from animdiff_cli import generate
>>> clip = generate("a red rocket in the night sky", model="pocket", seed=7)  # doctest: +SKIP
>>> clip.frames.shape, clip.save("rocket.gif")  # doctest: +SKIP
((16, 128, 128, 3), PosixPath('rocket.gif'))
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from animdiff_cli.errors import AnimdiffError
    from animdiff_cli.jobs.clip import Clip
    from animdiff_cli.jobs.evaluate import evaluate
    from animdiff_cli.jobs.generate import generate
    from animdiff_cli.metrics.camera import camera_motion
    from animdiff_cli.motion import load_motion_module, plug, unplug

__all__ = ["AnimdiffError", "Clip", "camera_motion", "evaluate", "generate", "load_motion_module", "plug", "unplug"]

#: module of each public name, imported on first access because torch takes seconds to import
_HOMES = {
    "AnimdiffError": "animdiff_cli.errors",
    "Clip": "animdiff_cli.jobs.clip",
    "camera_motion": "animdiff_cli.metrics.camera",
    "evaluate": "animdiff_cli.jobs.evaluate",
    "generate": "animdiff_cli.jobs.generate",
    "load_motion_module": "animdiff_cli.motion",
    "plug": "animdiff_cli.motion",
    "unplug": "animdiff_cli.motion",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
