"""The figures of clips, and how they are told: as JSON, and as text for a table or report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animdiff_cli.metrics.camera import CameraMotion
from animdiff_cli.metrics.measures import BY_KEY, MEASURES, Measure

#: a figure nobody could take
NONE = "–"


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """What was measured on one clip. `values` are in the units of `MEASURES`; None where it cannot be measured."""

    path: Path
    prompt: str | None
    num_frames: int
    width: int  # px
    height: int  # px
    fps: float | None
    values: Mapping[str, float | None]
    camera: CameraMotion | None
    steps: tuple[float, ...]  # difference of each frame to the next, and of the last to the first; grey levels

    def record(self) -> dict[str, Any]:
        """Tell it as JSON can. An infinite PSNR, of identical clips, is null."""
        return {
            "file": str(self.path),
            "prompt": self.prompt,
            "num_frames": self.num_frames,
            "width": self.width,
            "height": self.height,
            "fps": self.fps,
            "measures": {key: _finite(value) for key, value in self.values.items()},
            "camera": camera_record(self.camera) if self.camera else None,
        }


def columns(clips: Sequence[ClipFigures], *, details: bool = False) -> list[Measure]:
    """List the measures that were asked for, in the order of `MEASURES`."""
    taken = {key for clip in clips for key in clip.values}
    return [measure for measure in MEASURES if measure.key in taken and (details or not measure.is_detail)]


def mean_values(clips: Sequence[ClipFigures]) -> dict[str, float | None]:
    """Average every measure over the clips it could be taken on; infinite figures are left out."""
    means: dict[str, float | None] = {}
    for measure in columns(clips, details=True):
        figures = [clip.values.get(measure.key) for clip in clips]
        finite = [figure for figure in figures if figure is not None and math.isfinite(figure)]
        means[measure.key] = float(np.mean(finite)) if finite else None
    return means


def told(key: str, value: float | None) -> str:
    """Word a figure: `31.39`, `∞`, or a dash for none."""
    if value is None:
        return NONE
    return "∞" if math.isinf(value) else f"{value:.{BY_KEY[key].digits}f}"


def camera_record(camera: CameraMotion) -> dict[str, Any]:
    """Tell a camera's motion as JSON: signs and units as in `CameraMotion`, angles in degrees."""
    return {
        "words": str(camera),
        "pan_px": camera.pan,
        "tilt_px": camera.tilt,
        "speed_px": camera.speed,
        "speed_share_of_width": camera.speed_share,
        "direction_deg": camera.direction,
        "roll_deg": camera.roll,
        "zoom": camera.zoom,
        "agreement": camera.agreement,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
