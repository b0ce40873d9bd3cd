"""How much of the clips' looks a MotionLoRA has learned although it should learn their motion alone.

A still has no motion, so a MotionLoRA that learned nothing but motion leaves stills as they were and does not pull
their colours towards those of the clips. Both are measured on prompted stills, rendered with and without it from the
same noise. Simple measures, meant for comparing runs: they need no further model.
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
    """Means over prompts. `similarity` is 1 where stills did not change at all.

    `towards_clips` compares colours with the training clips: 0 nothing in common, 1 the same. What matters is its
    growth from before to after.
    """

    stills: int
    similarity: float
    towards_clips_before: float
    towards_clips_after: float

    @property
    def leaked(self) -> float:
        """Growth of the likeness to the clips."""
        return self.towards_clips_after - self.towards_clips_before

    def record(self) -> dict[str, float]:
        """Round everything for a report."""
        return {key: round(value, 4) for key, value in {**asdict(self), "leaked": self.leaked}.items()}


def compare(before: Sequence[Picture], after: Sequence[Picture], clips: Sequence[Picture]) -> LeakReport:
    """Compare stills [H, W, 3] of the same prompts and noise, before and after training, with frames of the clips."""
    colours = np.mean([histogram(picture) for picture in clips], axis=0)
    return LeakReport(
        stills=len(before),
        similarity=_mean([similarity(a, b) for a, b in zip(before, after, strict=True)]),
        towards_clips_before=_mean([common(histogram(picture), colours) for picture in before]),
        towards_clips_after=_mean([common(histogram(picture), colours) for picture in after]),
    )


def similarity(a: Picture, b: Picture) -> float:
    """Correlate small thumbnails: 1 for the same picture, about 0 for unrelated ones."""
    left, right = (np.asarray(Image.fromarray(x).resize((THUMBNAIL, THUMBNAIL))).astype(float).ravel() for x in (a, b))
    left, right = left - left.mean(), right - right.mean()
    norm = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / norm) if norm > 0 else float(np.array_equal(a, b))


def histogram(picture: Picture) -> NDArray[np.float64]:
    """Count colours in a cube of 8³ bins; the shares sum to 1."""
    bins = (picture.reshape(-1, 3) // (256 // BINS)).astype(int)
    flat = bins @ np.array([BINS * BINS, BINS, 1])
    return np.bincount(flat, minlength=BINS**3) / len(flat)


def common(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the share of colour two histograms have in common."""
    return float(np.minimum(a, b).sum())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
