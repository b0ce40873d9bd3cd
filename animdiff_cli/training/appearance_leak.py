"""Measure how much of the training clips' appearance a MotionLoRA has learned; it should learn motion only.

A still has no motion, so a MotionLoRA without leak neither changes stills nor moves their colors towards those of the
clips. Both are measured on stills rendered with and without it from the same prompts and noise. The measures are
simple and meant for comparing runs: they need no other model.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
THUMBNAIL, BINS = 16, 8


@dataclass(frozen=True, slots=True)
class LeakReport:
    """Means over prompts. `similarity` is 1 if stills did not change.

    `towards_clips_*` compare the colors of stills and clips: 0 is nothing in common, 1 is equal.
    """

    stills: int
    similarity: float
    towards_clips_before: float
    towards_clips_after: float

    @property
    def leaked(self) -> float:
        """Increase of the color overlap with the clips."""
        return self.towards_clips_after - self.towards_clips_before

    def record(self) -> dict[str, float]:
        """Return all values for a report, rounded."""
        return {key: round(value, 4) for key, value in {**asdict(self), "leaked": self.leaked}.items()}


def measure_leak(before: Sequence[Picture], after: Sequence[Picture], clips: Sequence[Picture]) -> LeakReport:
    """Compare stills `[H, W, 3]` of the same prompts and noise, without and with the LoRA, with frames of the clips."""
    clip_colors = np.mean([color_histogram(picture) for picture in clips], axis=0)
    return LeakReport(
        stills=len(before),
        similarity=_mean([similarity(a, b) for a, b in zip(before, after, strict=True)]),
        towards_clips_before=_mean([overlap(color_histogram(picture), clip_colors) for picture in before]),
        towards_clips_after=_mean([overlap(color_histogram(picture), clip_colors) for picture in after]),
    )


def similarity(a: Picture, b: Picture) -> float:
    """Return the correlation of thumbnails: 1 for equal pictures, about 0 for unrelated ones."""
    left, right = (np.asarray(Image.fromarray(x).resize((THUMBNAIL, THUMBNAIL))).astype(float).ravel() for x in (a, b))
    left, right = left - left.mean(), right - right.mean()
    norm = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / norm) if norm > 0 else float(np.array_equal(a, b))


def color_histogram(picture: Picture) -> NDArray[np.float64]:
    """Return the share of pixels in each of 8³ color bins."""
    bins = (picture.reshape(-1, 3) // (256 // BINS)).astype(int)
    flat = bins @ np.array([BINS * BINS, BINS, 1])
    return np.bincount(flat, minlength=BINS**3) / len(flat)


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the overlap of two histograms."""
    return float(np.minimum(a, b).sum())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
