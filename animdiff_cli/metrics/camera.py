"""Camera motion: the mean global motion between consecutive frames.

The camera moves opposite to the image: if the image moves left, the camera pans right; if it rotates anticlockwise, the
camera rolls clockwise.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.flow import MIN_SIDE, dynamic_degree, flow_pairs, warp_error
from animdiff_cli.metrics.registration import SimilarityTransform, fit_similarity
from animdiff_cli.outputs.ffmpeg import Frames

# smaller moves are left out of the description: fraction of the width, degrees and change of scale per frame
NOTABLE_SHARE, NOTABLE_ROLL, NOTABLE_ZOOM = 0.0025, 0.15, 0.0025


@dataclass(frozen=True, slots=True)
class CameraMotion:
    """Mean global motion over the pairs of consecutive frames of a clip.

    Signs follow the names of the MotionLoRAs: pan right, tilt up, zoom in and roll clockwise are positive.
    """

    pan: float  # px per frame; right is positive: the image moves left
    tilt: float  # px per frame; up is positive: the image moves down
    roll: float  # degrees per frame; clockwise is positive: the image rotates anticlockwise
    zoom: float  # scale factor of the image per frame; above 1 is in
    agreement: float  # 0 to 1, median fraction of the detailed pixels that follow the camera motion
    width: int  # of the frames, px

    @property
    def speed(self) -> float:
        """Magnitude of pan and tilt, px per frame."""
        return math.hypot(self.pan, self.tilt)

    @property
    def speed_share(self) -> float:
        """Speed as a fraction of the frame's width, per frame."""
        return self.speed / self.width

    @property
    def direction(self) -> float:
        """Direction of the camera in degrees: 0 right, 90 up, 180 left, -90 down."""
        return math.degrees(math.atan2(self.tilt, self.pan))

    def __str__(self) -> str:
        """Describe the noticeable moves per frame: `pan right 2.0 px, zoom in 1.5 %`."""
        moves = []
        if abs(self.pan) > NOTABLE_SHARE * self.width:
            moves.append(f"pan {'right' if self.pan > 0 else 'left'} {abs(self.pan):.1f} px")
        if abs(self.tilt) > NOTABLE_SHARE * self.width:
            moves.append(f"tilt {'up' if self.tilt > 0 else 'down'} {abs(self.tilt):.1f} px")
        if abs(self.zoom - 1) > NOTABLE_ZOOM:
            moves.append(f"zoom {'in' if self.zoom > 1 else 'out'} {100 * abs(self.zoom - 1):.1f} %")
        if abs(self.roll) > NOTABLE_ROLL:
            moves.append(f"roll {'cw' if self.roll > 0 else 'ccw'} {abs(self.roll):.1f}°")
        return ", ".join(moves) or "still"


def camera_motion(frames: Frames) -> CameraMotion | None:
    """Measure the camera motion of a clip, uint8 [F, H, W, 3]; None if the frames have too little detail.

    Raises `UsageError` for one frame, if a side is below 16 pixels, or if OpenCV is missing.
    """
    if len(frames) < 2:
        raise UsageError("cannot measure motion in one frame", hint="give a clip of at least two frames")
    return mean_motion([fit_similarity(pair) for pair in flow_pairs(frames)], width=frames.shape[2])


def flow_values(frames: Frames) -> tuple[dict[str, float | None], CameraMotion | None]:
    """Compute all metrics that need optical flow in one pass: raw values by key, and camera motion.

    All are None for one frame or sides below 16 pixels. Raises `UsageError` if OpenCV is missing.
    """
    warps: list[float | None] = []
    degrees: list[float | None] = []
    fits: list[SimilarityTransform | None] = []
    for pair in flow_pairs(frames) if len(frames) > 1 and min(frames.shape[1:3]) >= MIN_SIDE else ():
        warps.append(warp_error(pair))
        degrees.append(dynamic_degree(pair))
        fits.append(fit_similarity(pair))
    return {"warp": _mean(warps), "dynamic": _mean(degrees)}, mean_motion(fits, width=frames.shape[2])


def mean_motion(fits: Sequence[SimilarityTransform | None], *, width: int) -> CameraMotion | None:
    """Average over the pairs that could be registered; None if they are fewer than half."""
    found = [fit for fit in fits if fit is not None]
    if not found or 2 * len(found) < len(fits):
        return None
    return CameraMotion(
        pan=-float(np.mean([fit.dx for fit in found])),
        tilt=float(np.mean([fit.dy for fit in found])),
        roll=-float(np.mean([fit.rotation for fit in found])),
        zoom=math.exp(float(np.mean([math.log(fit.scale) for fit in found]))),
        agreement=float(np.median([fit.agreement for fit in found])),
        width=width,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
