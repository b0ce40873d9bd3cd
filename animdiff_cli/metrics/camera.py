"""How the camera moved: the average of what the whole picture does from frame to frame.

The camera's motion is the opposite of the picture's: where the picture moves left, the camera pans right, and where it
turns anticlockwise, the camera rolls clockwise.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.align import Similarity, fit_similarity
from animdiff_cli.metrics.flow import flow_pairs
from animdiff_cli.metrics.temporal import Frames

# below these a move is not mentioned in words: shares of the width, degrees and growth per frame
NOTABLE_SHARE, NOTABLE_ROLL, NOTABLE_ZOOM = 0.0025, 0.15, 0.0025


@dataclass(frozen=True, slots=True)
class CameraMotion:
    """Global motion of a clip, the average over its pairs of frames.

    Signs are named like MotionLoRAs: pan right, tilt up, zoom in and roll clockwise are positive.
    """

    pan: float  # px per frame; right is positive: the picture moves left
    tilt: float  # px per frame; up is positive: the picture moves down
    roll: float  # degrees per frame; clockwise is positive: the picture turns anticlockwise
    zoom: float  # factor per frame by which the picture grows; above 1 is in
    agreement: float  # 0 to 1, median share of the pixels with detail that move with the camera
    width: int  # of the frames, px

    @property
    def speed(self) -> float:
        """Length of pan and tilt together, px per frame."""
        return math.hypot(self.pan, self.tilt)

    @property
    def speed_share(self) -> float:
        """Speed as a share of the frame's width per frame."""
        return self.speed / self.width

    @property
    def direction(self) -> float:
        """Where the camera goes, degrees: 0 right, 90 up, 180 left, -90 down."""
        return math.degrees(math.atan2(self.tilt, self.pan))

    def __str__(self) -> str:
        """Name the moves that can be noticed, as they are per frame: `pan right 2.0 px, zoom in 1.5 %`."""
        told = []
        if abs(self.pan) > NOTABLE_SHARE * self.width:
            told.append(f"pan {'right' if self.pan > 0 else 'left'} {abs(self.pan):.1f} px")
        if abs(self.tilt) > NOTABLE_SHARE * self.width:
            told.append(f"tilt {'up' if self.tilt > 0 else 'down'} {abs(self.tilt):.1f} px")
        if abs(self.zoom - 1) > NOTABLE_ZOOM:
            told.append(f"zoom {'in' if self.zoom > 1 else 'out'} {100 * abs(self.zoom - 1):.1f} %")
        if abs(self.roll) > NOTABLE_ROLL:
            told.append(f"roll {'cw' if self.roll > 0 else 'ccw'} {abs(self.roll):.1f}°")
        return ", ".join(told) or "still"


def camera_motion(frames: Frames) -> CameraMotion | None:
    """Measure the global motion of a clip, uint8 [F, H, W, 3]; None where too little of it can be followed.

    Raises `UsageError` below two frames, for frames below 16 pixels, and where OpenCV is missing.
    """
    if len(frames) < 2:
        raise UsageError("one frame has no motion", hint="give a clip of at least two frames")
    return combine([fit_similarity(pair) for pair in flow_pairs(frames)], width=frames.shape[2])


def combine(fits: Sequence[Similarity | None], *, width: int) -> CameraMotion | None:
    """Average over the pairs that could be fitted; None unless they are at least half."""
    found = [fit for fit in fits if fit is not None]
    if not found or 2 * len(found) < len(fits):
        return None
    return CameraMotion(
        pan=-_mean(fit.right for fit in found),
        tilt=_mean(fit.down for fit in found),
        roll=-_mean(fit.turn for fit in found),
        zoom=math.exp(_mean(math.log(fit.scale) for fit in found)),
        agreement=float(np.median([fit.agreement for fit in found])),
        width=width,
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
