"""What the whole picture does between two frames: a similarity that explains as much of it as one motion can.

Two first guesses, the motion of most corners (flow and RANSAC) and no motion at all, are both refined on the pixels
themselves by robust least squares (after Odobez and Bouthemy 1995); the one that explains the frame better wins. So a
large detailed object does not outvote a plain background that stands still.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.metrics.flow import FlowPair, load_opencv
from animdiff_cli.metrics.temporal import luma

Grey = NDArray[np.float32]
Motion = NDArray[np.float64]

STILL: Motion = np.array([0.0, 0.0, 1.0, 0.0])

#: corners are taken one per cell, so that detail does not count for more than area; cells per short side
CELLS = 32
#: a corner is fit to be followed if its response is at least this share of the frame's largest
CORNER_SHARE = 0.003
MIN_CORNERS = 8
#: a corner agrees within half a pixel, or this share of the shorter side in large frames
TOLERANCE_PX, TOLERANCE_SHARE = 0.5, 1 / 512
#: pixels that take part change by so many grey levels to the next pixel; fewer of them than this show nothing
MIN_SLOPE, MIN_PIXELS = 1.0, 64
#: of more pixels, evenly chosen ones are enough: four numbers are sought
MAX_PIXELS = 20_000
#: deviation of the Gaussian that noise is smoothed with
NOISE_PX = 1.0
#: residual in grey levels at which a pixel counts a quarter (Geman and McClure 1987): at first, and at least
RESIDUAL, LEAST_RESIDUAL = 6.0, 1.0
ITERATIONS = 40
#: px at the frame's edge; smaller steps end the search
PRECISION_PX = 1e-4


@dataclass(frozen=True, slots=True)
class Similarity:
    """The picture is scaled and turned about the centre of the frame, then moved."""

    right: float  # px
    down: float  # px
    turn: float  # degrees, clockwise as seen
    scale: float
    agreement: float  # 0 to 1, share of the pixels with detail that this explains


def fit_similarity(pair: FlowPair) -> Similarity | None:
    """Fit one similarity to a pair of frames; None where the first shows too little detail to follow."""
    cv2 = load_opencv()
    problem = _Alignment(*(cv2.GaussianBlur(luma(frame), (0, 0), NOISE_PX) for frame in (pair.before, pair.after)))
    if problem.size < MIN_PIXELS:
        return None
    guesses = [guess for guess in (STILL, _most_corners(pair)) if guess is not None]
    rough = problem.best([problem.refine(guess, RESIDUAL) for guess in guesses], RESIDUAL)
    # what fits is told more strictly from what does not once it is known how well it fits
    limit = problem.usual_residual(rough)
    fine = problem.best([problem.refine(guess, limit) for guess in (rough, *guesses)], limit)
    right, down, cosine, sine = (float(part) for part in fine)
    return Similarity(
        right=right,
        down=down,
        turn=math.degrees(math.atan2(sine, cosine)),
        scale=math.hypot(cosine, sine),
        agreement=problem.agreement(fine),
    )


class _Alignment:
    """Frames and the pixels with detail to align them by. Motions are (right, down, scale·cos, scale·sin)."""

    def __init__(self, before: Grey, after: Grey) -> None:
        slope_down, slope_right = np.gradient(before)
        detailed = np.hypot(slope_right, slope_down) >= MIN_SLOPE
        rows, columns = (places[:: 1 + len(places) // MAX_PIXELS] for places in np.nonzero(detailed))
        self._after = after
        self._slopes = np.gradient(after)
        self._before = before[rows, columns]
        self._centre_x, self._centre_y = (before.shape[1] - 1) / 2, (before.shape[0] - 1) / 2
        self._x, self._y = columns - self._centre_x, rows - self._centre_y
        self._reach = math.hypot(self._centre_x, self._centre_y)
        self.size = len(rows)

    def refine(self, motion: Motion, limit: float) -> Motion:
        """Descend to the best motion near `motion`, together with a change of brightness."""
        best, best_cost = motion, self.cost(motion, limit)
        for _ in range(ITERATIONS):
            residual, inside, (x, y) = self._residual(motion)
            slope_right, slope_down = (self._read(self._slopes[axis], x, y) for axis in (1, 0))
            weights = np.where(inside, limit**2 / (limit**2 + residual**2), 0) ** 2
            effects = np.stack(
                [
                    slope_right,
                    slope_down,
                    slope_right * self._x + slope_down * self._y,
                    slope_down * self._x - slope_right * self._y,
                    np.ones_like(slope_right),
                ],
                axis=1,
            )
            weighted = effects * weights[:, None]
            step = np.linalg.lstsq(weighted.T @ effects, -(weighted.T @ residual), rcond=1e-12)[0][:4]
            motion = motion + step
            cost = self.cost(motion, limit)
            if not cost < best_cost:
                break
            best, best_cost = motion, cost
            if np.hypot(*step[:2]) + np.hypot(*step[2:]) * self._reach < PRECISION_PX:
                break
        return best

    def best(self, motions: Sequence[Motion], limit: float) -> Motion:
        """Choose the motion that explains the frame best; of equals the first."""
        return min(motions, key=lambda motion: self.cost(motion, limit))

    def cost(self, motion: Motion, limit: float) -> float:
        """Say how badly a motion explains what it keeps in the frame, 0 to 1; 1 if it keeps less than half."""
        residual, inside, _ = self._residual(motion)
        if 2 * inside.sum() < self.size:
            return 1.0
        squares = residual[inside] ** 2
        return float((squares / (limit**2 + squares)).mean())

    def usual_residual(self, motion: Motion) -> float:
        """Thrice the median residual, in grey levels, within reason."""
        residual, inside, _ = self._residual(motion)
        return float(np.clip(3 * np.median(np.abs(residual[inside])), LEAST_RESIDUAL, RESIDUAL))

    def agreement(self, motion: Motion) -> float:
        """Share of the pixels inside the frame whose residual is below the limit."""
        residual, inside, _ = self._residual(motion)
        return float((np.abs(residual[inside]) < RESIDUAL).mean())

    def _residual(self, motion: Motion) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[Grey, Grey]]:
        """Compare the frames under a motion: difference of each pixel, whether it stays inside, and where it goes.

        The median difference is taken off: a flicker of the whole frame is no motion.
        """
        right, down, cosine, sine = motion
        x = (cosine * self._x - sine * self._y + right + self._centre_x).astype(np.float32)
        y = (sine * self._x + cosine * self._y + down + self._centre_y).astype(np.float32)
        height, width = self._after.shape
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        residual = (self._read(self._after, x, y) - self._before).astype(np.float64)
        return residual - (np.median(residual[inside]) if inside.any() else 0.0), inside, (x, y)

    @staticmethod
    def _read(values: Grey, x: Grey, y: Grey) -> Grey:
        """Read an image between its pixels."""
        cv2 = load_opencv()
        # remap takes at most 32,767 places along one side
        side = math.ceil(math.sqrt(len(x)))
        place_x, place_y = (np.resize(places, (side, side)) for places in (x, y))
        read: Grey = cv2.remap(values, place_x, place_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return read.reshape(-1)[: len(x)]


def _most_corners(pair: FlowPair) -> Motion | None:
    """Fit what most corners do, by RANSAC; None where too few can be followed."""
    cv2 = load_opencv()
    start = _corners(pair)
    if len(start) < MIN_CORNERS:
        return None
    end = start + pair.forward[start[:, 1], start[:, 0]]
    height, width = pair.forward.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    cv2.setRNGSeed(0)  # the same clip, the same figures
    matrix, _ = cv2.estimateAffinePartial2D(
        (start - centre).astype(np.float32),
        (end - centre).astype(np.float32),
        ransacReprojThreshold=max(TOLERANCE_PX, TOLERANCE_SHARE * min(height, width)),
    )
    if matrix is None or not np.isfinite(matrix).all():
        return None
    return np.array([matrix[0, 2], matrix[1, 2], matrix[0, 0], matrix[1, 0]])


def _corners(pair: FlowPair) -> NDArray[np.int64]:
    """Choose the best corner of each cell that both frames show: (x, y) [N, 2]."""
    cv2 = load_opencv()
    height, width = pair.forward.shape[:2]
    response = cv2.cornerMinEigenVal(luma(pair.before), blockSize=5)
    usable = pair.visible() & (response >= max(CORNER_SHARE * float(response.max()), 1e-6))
    side = max(2, min(height, width) // CELLS)
    rows, columns = height // side, width // side
    whole = np.where(usable, response, 0)[: rows * side, : columns * side]
    cells = whole.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows, columns, side * side)
    row, column = np.nonzero(cells.max(axis=2) > 0)
    place = cells.argmax(axis=2)[row, column]
    return np.stack([column * side + place % side, row * side + place // side], axis=1)
