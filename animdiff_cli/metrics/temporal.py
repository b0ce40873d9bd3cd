"""Temporal metrics from pixels alone: change, flicker, loop seam.

Frames are uint8 [F, H, W, 3]. Results are in grey levels, 0 to 255, unless noted.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.outputs.ffmpeg import Frames

#: weights of red, green and blue in luma (ITU-R BT.601), applied to the stored values
LUMA = np.array([0.299, 0.587, 0.114])
#: half a grey level, the rounding error of eight bits: smaller differences are noise
HALF_LEVEL = 0.5


def temporal_values(frames: Frames) -> dict[str, float | None]:
    """Compute all metrics of this module: raw values by key."""
    return {"change": change(frames), "flicker": flicker(frames), "seam": loop_seam(frames)}


def luma(frames: Frames) -> NDArray[np.float32]:
    """Return luma, float32 without the colour axis, 0 to 255."""
    return frames.astype(np.float32) @ LUMA.astype(np.float32)


def change(frames: Frames) -> float | None:
    """Return the mean absolute difference of consecutive frames over pixels and colours; None below two frames.

    VBench's temporal flickering (2023) is (255 - change) / 255, meant for clips of still scenes.
    """
    if len(frames) < 2:
        return None
    return float(np.mean([difference(before, after) for before, after in pairwise(frames)]))


def flicker(frames: Frames) -> float | None:
    """Return the mean deviation of a frame's brightness from the mean of its two neighbours; None below three frames.

    A linear fade has none. Brightness that alternates between two values flickers by their difference.
    """
    if len(frames) < 3:
        return None
    brightness = np.array([frame.mean(axis=(0, 1), dtype=np.float64) @ LUMA for frame in frames])
    return float(np.abs(brightness[1:-1] - (brightness[:-2] + brightness[2:]) / 2).mean())


def loop_seam(frames: Frames) -> float | None:
    """Return the step from the last frame to the first, divided by the median step; 1 for a seamless loop.

    A step is the `difference` of consecutive frames. None below three frames.
    """
    if len(frames) < 3:
        return None
    usual = float(np.median([difference(before, after) for before, after in pairwise(frames)]))
    return (difference(frames[-1], frames[0]) + HALF_LEVEL) / (usual + HALF_LEVEL)


def steps(frames: Frames) -> tuple[float, ...]:
    """Return the difference of each frame to the next, and of the last to the first; empty for one frame."""
    if len(frames) < 2:
        return ()
    return tuple(difference(before, after) for before, after in pairwise([*frames, frames[0]]))


def difference(before: Frames, after: Frames) -> float:
    """Return the mean absolute difference of two frames [H, W, 3]."""
    return float(np.abs(before.astype(np.int16) - after).mean())
