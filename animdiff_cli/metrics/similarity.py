"""How alike two clips are, frame by frame: SSIM and PSNR."""

import math

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.temporal import Frames, luma

PEAK = 255.0
#: Wang et al. 2004: an 11×11 Gaussian of deviation 1.5, K1 = 0.01, K2 = 0.03
WINDOW, DEVIATION = 11, 1.5
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def ssim(frames: Frames, others: Frames) -> float:
    """Mean structural similarity of the frames' luma, -1 to 1 (Wang et al. 2004); 1 for identical clips.

    Windows that reach over the edge are left out. Raises `UsageError` unless the clips match, or below 11 pixels.
    """
    require_match(frames, others)
    if min(frames.shape[1:3]) < WINDOW:
        raise UsageError(f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels", hint="compare larger clips")
    return float(np.mean([_ssim(luma(one), luma(other)) for one, other in zip(frames, others, strict=True)]))


def psnr(frames: Frames, others: Frames) -> float:
    """Peak signal-to-noise ratio in dB of the whole clip, all colours; infinite for identical clips.

    10 log10(255² / MSE), the squared error pooled over all frames. Raises `UsageError` unless the clips match.
    """
    require_match(frames, others)
    squares = [
        np.square(one.astype(np.int32) - other).mean(dtype=np.float64)
        for one, other in zip(frames, others, strict=True)
    ]
    error = float(np.mean(squares))
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def require_match(frames: Frames, others: Frames) -> None:
    """Raise `UsageError` unless two clips have the same number of frames of the same size."""
    if frames.shape != others.shape:
        raise UsageError(
            f"clips of {_described(frames)} and of {_described(others)} cannot be compared frame by frame",
            hint="`--against` takes a clip of the same length and size",
        )


def _ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """SSIM of two grey frames [H, W], averaged over every window inside."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return float((likeness / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))).mean())


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh every window [11, 11] that lies inside `image`: [H - 10, W - 10]."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    height, width = (side - WINDOW + 1 for side in image.shape)
    rows, windows = np.zeros((height, image.shape[1])), np.zeros((height, width))
    for place, weight in enumerate(weights):
        rows += weight * image[place : place + height]
    for place, weight in enumerate(weights):
        windows += weight * rows[:, place : place + width]
    return windows


def _described(frames: Frames) -> str:
    count, height, width = frames.shape[:3]
    return f"{count} frame{'s' if count > 1 else ''} of {width}x{height} pixels"
