"""Full-reference metrics: SSIM and PSNR of a clip against another one, frame by frame."""

import math

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.core.text import counted
from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.temporal import luma
from animdiff_cli.outputs.ffmpeg import Frames

PEAK = 255.0
#: Wang et al. 2004: an 11×11 Gaussian window, sigma 1.5, K1 = 0.01, K2 = 0.03
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def full_reference_values(frames: Frames, others: Frames) -> dict[str, float | None]:
    """Compute all metrics of this module: raw values by key. Raises `UsageError` unless length and size match."""
    return {"ssim": ssim(frames, others), "psnr": psnr(frames, others)}


def ssim(frames: Frames, others: Frames) -> float:
    """Return the mean structural similarity of luma, -1 to 1 (Wang et al. 2004); 1 for identical clips.

    Uses only windows inside the frame. Raises `UsageError` if the clips do not match or a side is below 11 pixels.
    """
    require_match(frames, others)
    if min(frames.shape[1:3]) < WINDOW:
        raise UsageError(f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels", hint="compare larger clips")
    return float(np.mean([_ssim(luma(one), luma(other)) for one, other in zip(frames, others, strict=True)]))


def psnr(frames: Frames, others: Frames) -> float:
    """Return the peak signal-to-noise ratio in dB over all frames and colours; infinite for identical clips.

    This is 10 log10(255² / MSE) with the MSE of the whole clip. Raises `UsageError` unless the clips match.
    """
    require_match(frames, others)
    squares = [
        np.square(one.astype(np.int32) - other).mean(dtype=np.float64)
        for one, other in zip(frames, others, strict=True)
    ]
    error = float(np.mean(squares))
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def require_match(frames: Frames, others: Frames) -> None:
    """Raise `UsageError` unless two clips have the same length and size."""
    if frames.shape != others.shape:
        raise UsageError(
            f"cannot compare clips of {_describe(frames)} and of {_describe(others)}",
            hint="`--against` needs a clip of the same length and size",
        )


def _ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return SSIM of two grey frames [H, W], averaged over all windows."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return float((numerator / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))).mean())


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve with the Gaussian window, without padding: [H, W] → [H - 10, W - 10]."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    height, width = (side - WINDOW + 1 for side in image.shape)
    rows, windows = np.zeros((height, image.shape[1])), np.zeros((height, width))
    for place, weight in enumerate(weights):
        rows += weight * image[place : place + height]
    for place, weight in enumerate(weights):
        windows += weight * rows[:, place : place + width]
    return windows


def _describe(frames: Frames) -> str:
    count, height, width = frames.shape[:3]
    return f"{counted(count, 'frame')} of {width}x{height} pixels"
