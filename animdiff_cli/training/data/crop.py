"""Crop decoded footage to the camera's view of each frame, at the training size."""

from collections.abc import Sequence
from math import cos, radians, sin

import numpy as np
from PIL import Image

from animdiff_cli.core.shots import Window
from animdiff_cli.outputs.ffmpeg import Frames


def decoding_size(windows: Sequence[Window], width: int, height: int, bucket: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest (width, height) to decode footage at without having to enlarge any window of a clip.

    Never larger than the footage: `crop` enlarges where necessary. `bucket` is (height, width).
    """
    smallest = min(window.width for window in windows)
    scale = min(bucket[1] / smallest, 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def crop(frames: Frames, windows: Sequence[Window], bucket: tuple[int, int]) -> Frames:
    """Crop each frame to its window and resize to `bucket` (H, W): uint8 `[F, h, w, 3]` to `[F, H, W, 3]`.

    Window edges may lie between pixels, so slow moves are smooth. Downscaling averages, so zooms do not shimmer.
    """
    pairs = zip(frames, windows, strict=True)
    return np.stack(
        [
            _rotated(frame, window, bucket) if window.angle else _upright(frame, window, bucket)
            for frame, window in pairs
        ]
    )


def _upright(frame: Frames, window: Window, bucket: tuple[int, int]) -> Frames:
    height, width = frame.shape[:2]
    (left, top), _, (right, bottom), _ = window.corners()
    # rounding errors can exceed the frame by a billionth, which Pillow refuses
    box = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    return np.asarray(Image.fromarray(frame).resize((bucket[1], bucket[0]), Image.Resampling.BICUBIC, box=box))


def _rotated(frame: Frames, window: Window, bucket: tuple[int, int]) -> Frames:
    """Sample a rotated window with an affine transform from output pixels to frame pixels."""
    height, width = bucket
    scale_x, scale_y = window.width / width, window.height / height
    cosine, sine = cos(radians(window.angle)), sin(radians(window.angle))
    (left, top), *_ = window.corners()
    matrix = (scale_x * cosine, -scale_y * sine, left, scale_x * sine, scale_y * cosine, top)
    picture = Image.fromarray(frame).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    return np.asarray(picture)
