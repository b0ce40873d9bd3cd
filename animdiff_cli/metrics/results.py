"""The table of metrics, and the results of a clip as JSON and as text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from animdiff_cli.metrics.camera import CameraMotion

Better = Literal["↑", "↓", "→1", "·"]
Needs = Literal["pixels", "opencv", "clip", "reference", "against"]

#: shown for a metric that could not be computed
NOT_COMPUTED = "–"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Tables and JSON show the raw value times `factor`."""

    key: str
    needs: Needs
    better: Better
    unit: str
    meaning: str  # one line, for reports
    factor: float = 1
    digits: int = 2
    is_detail: bool = False  # shown in JSON and reports, but not in the table

    @property
    def title(self) -> str:
        """Name with direction, such as `warp ↓`."""
        return f"{self.key.replace('_', ' ')} {self.better}"


#: formulas are in docs/concepts/metrics.md
METRICS: tuple[Metric, ...] = (
    Metric("text", "clip", "↑", "100·cos", "CLIP similarity of the frames to the prompt", 100),
    Metric("domain", "reference", "↑", "100·cos", "CLIP similarity of the frames to the reference images", 100),
    Metric("smooth", "clip", "↑", "100·cos", "mean CLIP similarity over all pairs of frames", 100),
    Metric("smooth_neighbours", "clip", "↑", "100·cos", "CLIP similarity of consecutive frames", 100, is_detail=True),
    Metric("warp", "opencv", "↓", "10⁻³", "squared error of each frame against the next, warped by optical flow", 1000),
    Metric("dynamic", "opencv", "·", "% side/f", "mean optical flow of the fastest 5 % of the pixels", 100),
    Metric("change", "pixels", "·", "levels/f", "mean absolute difference of consecutive frames", is_detail=True),
    Metric("flicker", "pixels", "↓", "levels", "deviation of a frame's brightness from the mean of its neighbours"),
    Metric("seam", "pixels", "→1", "steps", "step from the last frame to the first, relative to the median step"),
    Metric("ssim", "against", "↑", "0 to 1", "structural similarity to the other clip", digits=4),
    Metric("psnr", "against", "↑", "dB", "peak signal-to-noise ratio to the other clip"),
)
BY_KEY = {metric.key: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class ClipResult:
    """The metrics of one clip. `values` are in the units of `METRICS`; None if a metric could not be computed."""

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
        """Return the result for JSON. An infinite PSNR, of identical clips, becomes null."""
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


def computed_metrics(clips: Sequence[ClipResult], *, details: bool = False) -> list[Metric]:
    """List the metrics that any of the clips has, in the order of `METRICS`."""
    keys = {key for clip in clips for key in clip.values}
    return [metric for metric in METRICS if metric.key in keys and (details or not metric.is_detail)]


def mean_values(clips: Sequence[ClipResult]) -> dict[str, float | None]:
    """Average every metric over the clips that have it; infinite values are left out."""
    means: dict[str, float | None] = {}
    for metric in computed_metrics(clips, details=True):
        values = [clip.values.get(metric.key) for clip in clips]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        means[metric.key] = float(np.mean(finite)) if finite else None
    return means


def format_value(key: str, value: float | None) -> str:
    """Format the value of a metric: `31.39`, `∞`, or a dash for None."""
    if value is None:
        return NOT_COMPUTED
    return "∞" if math.isinf(value) else f"{value:.{BY_KEY[key].digits}f}"


def camera_record(camera: CameraMotion) -> dict[str, Any]:
    """Return camera motion for JSON. Signs and units are those of `CameraMotion`, angles are in degrees."""
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
