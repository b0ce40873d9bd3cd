"""Image registration: estimate the global motion between two frames as a similarity transform.

Two initial estimates, the dominant motion of corners (flow and RANSAC) and no motion, are refined on the pixels by
robust least squares (after Odobez and Bouthemy 1995). The one with the lower cost is kept, so that a large detailed
object does not hide a plain background that stands still.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.metrics.flow import FlowPair, load_opencv
from animdiff_cli.metrics.temporal import luma

Grey = NDArray[np.float32]
#: (dx, dy, scale · cos, scale · sin)
Motion = NDArray[np.float64]

NO_MOTION: Motion = np.array([0.0, 0.0, 1.0, 0.0])

#: cells per shorter side; one corner is taken per cell, so that detailed regions do not dominate
CELLS = 32
#: a corner's response must be at least this fraction of the strongest one in the frame
MIN_RESPONSE = 0.003
MIN_CORNERS = 8
#: RANSAC threshold: half a pixel, or this fraction of the shorter side for large frames
TOLERANCE_PX, TOLERANCE_SHARE = 0.5, 1 / 512
#: least gradient of a detailed pixel in grey levels per pixel, and least number of such pixels
MIN_GRADIENT, MIN_PIXELS = 1.0, 64
#: more pixels are subsampled evenly: there are only four parameters
MAX_PIXELS = 20_000
#: sigma of the Gaussian that smooths noise
BLUR_PX = 1.0
#: residual in grey levels that gets a weight of 1/4 (Geman and McClure 1987): initial and least value
RESIDUAL, MIN_RESIDUAL = 6.0, 1.0
ITERATIONS = 40
#: px at the frame's edge; smaller updates end the iteration
PRECISION_PX = 1e-4


@dataclass(frozen=True, slots=True)
class SimilarityTransform:
    """Scaling and rotation about the centre of the frame, followed by translation."""

    dx: float  # px, right is positive
    dy: float  # px, down is positive
    rotation: float  # degrees, clockwise as seen
    scale: float
    agreement: float  # 0 to 1, fraction of the detailed pixels that follow the transform


def fit_similarity(pair: FlowPair) -> SimilarityTransform | None:
    """Fit a similarity transform to a pair of frames; None if the first frame has too little detail."""
    cv2 = load_opencv()
    problem = _Registration(*(cv2.GaussianBlur(luma(frame), (0, 0), BLUR_PX) for frame in (pair.before, pair.after)))
    if problem.size < MIN_PIXELS:
        return None
    initial = [motion for motion in (NO_MOTION, _corner_motion(pair)) if motion is not None]
    rough = problem.best([problem.refine(motion, RESIDUAL) for motion in initial], RESIDUAL)
    # tighten the outlier threshold to the residual that the rough fit leaves
    limit = problem.robust_limit(rough)
    fine = problem.best([problem.refine(motion, limit) for motion in (rough, *initial)], limit)
    dx, dy, cosine, sine = (float(part) for part in fine)
    return SimilarityTransform(
        dx=dx,
        dy=dy,
        rotation=math.degrees(math.atan2(sine, cosine)),
        scale=math.hypot(cosine, sine),
        agreement=problem.agreement(fine),
    )


class _Registration:
    """Two frames, and the detailed pixels that are registered."""

    def __init__(self, before: Grey, after: Grey) -> None:
        grad_y, grad_x = np.gradient(before)
        detailed = np.hypot(grad_x, grad_y) >= MIN_GRADIENT
        rows, columns = (places[:: 1 + len(places) // MAX_PIXELS] for places in np.nonzero(detailed))
        self._after = after
        self._gradients = np.gradient(after)
        self._before = before[rows, columns]
        self._centre_x, self._centre_y = (before.shape[1] - 1) / 2, (before.shape[0] - 1) / 2
        self._x, self._y = columns - self._centre_x, rows - self._centre_y
        self._reach = math.hypot(self._centre_x, self._centre_y)
        self.size = len(rows)

    def refine(self, motion: Motion, limit: float) -> Motion:
        """Minimize the robust cost from `motion` on, by Gauss-Newton steps with a free brightness offset."""
        best, best_cost = motion, self.cost(motion, limit)
        for _ in range(ITERATIONS):
            residual, inside, (x, y) = self._residual(motion)
            grad_x, grad_y = (self._sample(self._gradients[axis], x, y) for axis in (1, 0))
            weights = np.where(inside, limit**2 / (limit**2 + residual**2), 0) ** 2
            jacobian = np.stack(
                [
                    grad_x,
                    grad_y,
                    grad_x * self._x + grad_y * self._y,
                    grad_y * self._x - grad_x * self._y,
                    np.ones_like(grad_x),
                ],
                axis=1,
            )
            weighted = jacobian * weights[:, None]
            step = np.linalg.lstsq(weighted.T @ jacobian, -(weighted.T @ residual), rcond=1e-12)[0][:4]
            motion = motion + step
            cost = self.cost(motion, limit)
            if not cost < best_cost:
                break
            best, best_cost = motion, cost
            if np.hypot(*step[:2]) + np.hypot(*step[2:]) * self._reach < PRECISION_PX:
                break
        return best

    def best(self, motions: Sequence[Motion], limit: float) -> Motion:
        """Return the motion with the lowest cost; the first one on ties."""
        return min(motions, key=lambda motion: self.cost(motion, limit))

    def cost(self, motion: Motion, limit: float) -> float:
        """Return the mean robust cost of the pixels that stay inside the frame, 0 to 1; 1 if fewer than half do."""
        residual, inside, _ = self._residual(motion)
        if 2 * inside.sum() < self.size:
            return 1.0
        squares = residual[inside] ** 2
        return float((squares / (limit**2 + squares)).mean())

    def robust_limit(self, motion: Motion) -> float:
        """Return three times the median absolute residual in grey levels, clipped to [MIN_RESIDUAL, RESIDUAL]."""
        residual, inside, _ = self._residual(motion)
        return float(np.clip(3 * np.median(np.abs(residual[inside])), MIN_RESIDUAL, RESIDUAL))

    def agreement(self, motion: Motion) -> float:
        """Return the fraction of the pixels inside the frame with a residual below `RESIDUAL`."""
        residual, inside, _ = self._residual(motion)
        return float((np.abs(residual[inside]) < RESIDUAL).mean())

    def _residual(self, motion: Motion) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[Grey, Grey]]:
        """Return the residual of each pixel under a motion, whether it stays inside the frame, and its target (x, y).

        Subtracts the median residual, so that flicker of the whole frame does not count as motion.
        """
        dx, dy, cosine, sine = motion
        x = (cosine * self._x - sine * self._y + dx + self._centre_x).astype(np.float32)
        y = (sine * self._x + cosine * self._y + dy + self._centre_y).astype(np.float32)
        height, width = self._after.shape
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        residual = (self._sample(self._after, x, y) - self._before).astype(np.float64)
        return residual - (np.median(residual[inside]) if inside.any() else 0.0), inside, (x, y)

    @staticmethod
    def _sample(values: Grey, x: Grey, y: Grey) -> Grey:
        """Sample an image at fractional positions, bilinearly."""
        cv2 = load_opencv()
        # remap supports at most 32,767 positions per side
        side = math.ceil(math.sqrt(len(x)))
        map_x, map_y = (np.resize(positions, (side, side)) for positions in (x, y))
        sampled: Grey = cv2.remap(values, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return sampled.reshape(-1)[: len(x)]


def _corner_motion(pair: FlowPair) -> Motion | None:
    """Fit the dominant motion of corners by RANSAC; None if there are too few corners."""
    cv2 = load_opencv()
    start = _corners(pair)
    if len(start) < MIN_CORNERS:
        return None
    end = start + pair.forward[start[:, 1], start[:, 0]]
    height, width = pair.forward.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    cv2.setRNGSeed(0)  # deterministic results
    matrix, _ = cv2.estimateAffinePartial2D(
        (start - centre).astype(np.float32),
        (end - centre).astype(np.float32),
        ransacReprojThreshold=max(TOLERANCE_PX, TOLERANCE_SHARE * min(height, width)),
    )
    if matrix is None or not np.isfinite(matrix).all():
        return None
    return np.array([matrix[0, 2], matrix[1, 2], matrix[0, 0], matrix[1, 0]])


def _corners(pair: FlowPair) -> NDArray[np.int64]:
    """Return the strongest corner of each cell that is visible in both frames: (x, y) [N, 2]."""
    cv2 = load_opencv()
    height, width = pair.forward.shape[:2]
    response = cv2.cornerMinEigenVal(luma(pair.before), blockSize=5)
    usable = pair.visible() & (response >= max(MIN_RESPONSE * float(response.max()), 1e-6))
    side = max(2, min(height, width) // CELLS)
    rows, columns = height // side, width // side
    whole = np.where(usable, response, 0)[: rows * side, : columns * side]
    cells = whole.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows, columns, side * side)
    row, column = np.nonzero(cells.max(axis=2) > 0)
    place = cells.argmax(axis=2)[row, column]
    return np.stack([column * side + place % side, row * side + place // side], axis=1)
