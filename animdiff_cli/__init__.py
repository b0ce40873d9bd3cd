"""AnimateDiff as a command-line program and a small Python API.

>>> from animdiff_cli import generate
>>> clip = generate("a red rocket in the night sky", model="pocket", seed=7)  # doctest: +SKIP
>>> clip.frames.shape, clip.save("rocket.gif")  # doctest: +SKIP
((16, 128, 128, 3), PosixPath('rocket.gif'))
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from animdiff_cli.core.stand_ins import hide_broken_torchvision
from animdiff_cli.files.threads import prepare_threads

if TYPE_CHECKING:
    from animdiff_cli.errors import AnimdiffError
    from animdiff_cli.jobs.animator import Animator
    from animdiff_cli.jobs.clip import Clip
    from animdiff_cli.jobs.convert import convert
    from animdiff_cli.jobs.evaluate import evaluate
    from animdiff_cli.jobs.fetch import fetch_weights
    from animdiff_cli.jobs.generate import generate, load
    from animdiff_cli.jobs.train import train
    from animdiff_cli.metrics.camera import camera_motion
    from animdiff_cli.motion.load import load_motion_module
    from animdiff_cli.motion.plug import plug, unplug

    __version__: str

#: module of each public name, imported on first access because torch takes seconds to import
_HOMES = {
    "AnimdiffError": "animdiff_cli.errors",
    "Animator": "animdiff_cli.jobs.animator",
    "Clip": "animdiff_cli.jobs.clip",
    "camera_motion": "animdiff_cli.metrics.camera",
    "convert": "animdiff_cli.jobs.convert",
    "evaluate": "animdiff_cli.jobs.evaluate",
    "fetch_weights": "animdiff_cli.jobs.fetch",
    "generate": "animdiff_cli.jobs.generate",
    "load": "animdiff_cli.jobs.generate",
    "load_motion_module": "animdiff_cli.motion",
    "plug": "animdiff_cli.motion",
    "train": "animdiff_cli.jobs.train",
    "unplug": "animdiff_cli.motion",
}

__all__ = [
    "Animator",
    "AnimdiffError",
    "Clip",
    "__version__",
    "camera_motion",
    "convert",
    "evaluate",
    "fetch_weights",
    "generate",
    "load",
    "load_motion_module",
    "plug",
    "train",
    "unplug",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("animdiff")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "torch" not in sys.modules:
        prepare_threads(None)
    if name not in ("AnimdiffError", "fetch_weights"):
        hide_broken_torchvision()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
