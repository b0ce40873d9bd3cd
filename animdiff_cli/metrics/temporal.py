"""Measures of time that need nothing but the pixels: change, flicker, loop seam.

Frames are uint8 [F, H, W, 3]; results are in grey levels, 0 to 255, where nothing else is said.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

#: weights of red, green and blue in luma (ITU-R BT.601), applied to the stored values
LUMA = np.array([0.299, 0.587, 0.114])
#: half a grey level, the rounding of eight bits: differences below it are no differences
HALF_LEVEL = 0.5


def luma(frames: Frames) -> NDArray[np.float32]:
    """Grey values, float32 without the axis of colours, 0 to 255."""
    return frames.astype(np.float32) @ LUMA.astype(np.float32)


def change(frames: Frames) -> float | None:
    """Mean absolute difference between neighbouring frames, over all pixels and colours; None below two frames.

    VBench's temporal flickering (2023) is (255 - change) / 255, meant for clips of still scenes.
    """
    if len(frames) < 2:
        return None
    return float(np.mean([difference(before, after) for before, after in pairwise(frames)]))


def flicker(frames: Frames) -> float | None:
    """How far the brightness of a frame lies off the middle of its neighbours', on average; None below three frames.

    A steady fade has none; brightness that alternates between two values flickers by their distance.
    """
    if len(frames) < 3:
        return None
    brightness = np.array([frame.mean(axis=(0, 1), dtype=np.float64) @ LUMA for frame in frames])
    return float(np.abs(brightness[1:-1] - (brightness[:-2] + brightness[2:]) / 2).mean())


def loop_seam(frames: Frames) -> float | None:
    """The step from the last frame back to the first, in usual steps: a ratio, 1 where a loop runs on unnoticed.

    The usual step is the median `difference` of neighbours. None below three frames.
    """
    if len(frames) < 3:
        return None
    usual = float(np.median([difference(before, after) for before, after in pairwise(frames)]))
    return (difference(frames[-1], frames[0]) + HALF_LEVEL) / (usual + HALF_LEVEL)


def difference(before: Frames, after: Frames) -> float:
    """Mean absolute difference of two frames [H, W, 3]."""
    return float(np.abs(before.astype(np.int16) - after).mean())
