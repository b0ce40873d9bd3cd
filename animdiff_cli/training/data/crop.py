"""From footage to clips: what the camera sees of each frame, at the size that is trained."""

from collections.abc import Sequence
from math import cos, radians, sin

import numpy as np
from PIL import Image

from animdiff_cli.core.shots import Window
from animdiff_cli.outputs.ffmpeg import Frames


def working_size(windows: Sequence[Window], width: int, height: int, bucket: tuple[int, int]) -> tuple[int, int]:
    """The smallest (width, height) to decode footage at that no window of a clip has to be enlarged from.

    Never more than its own: enlarging is left to `crop`. `bucket` is (height, width).
    """
    smallest = min(window.width for window in windows)
    scale = min(bucket[1] / smallest, 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def crop(frames: Frames, windows: Sequence[Window], bucket: tuple[int, int]) -> Frames:
    """Show frame by frame what the windows see: uint8 `[F, h, w, 3]` in, `[F, H, W, 3]` out, `bucket` being (H, W).

    Windows may lie between pixels, so slow moves do not jerk. Downscaling averages, so zooms do not shimmer.
    """
    pairs = zip(frames, windows, strict=True)
    return np.stack(
        [_turned(frame, window, bucket) if window.angle else _upright(frame, window, bucket) for frame, window in pairs]
    )


def _upright(frame: Frames, window: Window, bucket: tuple[int, int]) -> Frames:
    height, width = frame.shape[:2]
    (left, top), _, (right, bottom), _ = window.corners()
    # sums of rounded numbers may stick out by a billionth, which Pillow refuses
    box = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    return np.asarray(Image.fromarray(frame).resize((bucket[1], bucket[0]), Image.Resampling.BICUBIC, box=box))


def _turned(frame: Frames, window: Window, bucket: tuple[int, int]) -> Frames:
    """Sample a turned window: each pixel of the picture asks for its place in the frame."""
    height, width = bucket
    across, down = window.width / width, window.height / height
    turn, rise = cos(radians(window.angle)), sin(radians(window.angle))
    (left, top), *_ = window.corners()
    places = (across * turn, -down * rise, left, across * rise, down * turn, top)
    picture = Image.fromarray(frame).transform(
        (width, height), Image.Transform.AFFINE, places, Image.Resampling.BICUBIC
    )
    return np.asarray(picture)
