"""Detect cuts between scenes on small pictures.

A cut lies between two neighbours if the picture changed by at least `MIN_CHANGE` levels on average and by at least
`MIN_RATIO` times the usual change nearby, and one of these holds:

- the colors changed too: `MIN_COLORS` of all pixels moved to another bin of a color histogram;
- the change is at least `SURE_RATIO` times the usual one, so that a cut between two grey streets is detected.

Fast motion changes every picture and a cut only one, so pans and passing cars are not cuts. Pictures that repeat the
one before (a film shown at twice its rate) do not count as usual. Fades and dissolves are not detected: no single
picture changes much. On ten seconds of a real street with five cuts, the weakest cut changes 48 levels and 26 % of the
colors, the strongest motion 20 levels and 13 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

#: size in pixels at which pictures are compared
WIDTH, HEIGHT = 64, 36
MIN_CHANGE = 10.0  # of 255 levels
MIN_RATIO = 3.0
SURE_RATIO = 6.0
MIN_COLORS = 0.18
#: number of neighbours on each side that define the usual change
NEAR = 4
#: below this change a picture repeats the one before
REPEATED = 0.3
#: bins per color channel
BINS = 6


@dataclass(slots=True)
class FrameChanges:
    """Change of each frame from the one before. Frames are added one by one, so memory use is constant."""

    levels: list[float] = field(default_factory=list)  # mean difference, 0 to 255
    colors: list[float] = field(default_factory=list)  # share of pixels that changed their bin, 0 to 1
    _last: npt.NDArray[np.int16] | None = None
    _last_histogram: npt.NDArray[np.int64] | None = None

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Add the next frame, uint8 `[HEIGHT, WIDTH, 3]`."""
        values = frame.astype(np.int16)
        bins = values.astype(np.int32) * BINS // 256
        histogram = np.bincount((bins @ np.array([BINS * BINS, BINS, 1])).ravel(), minlength=BINS**3)
        if self._last is not None and self._last_histogram is not None:
            self.levels.append(float(np.abs(values - self._last).mean()))
            pixels = HEIGHT * WIDTH
            self.colors.append(float(np.abs(histogram - self._last_histogram).sum()) / (2 * pixels))
        self._last, self._last_histogram = values, histogram


def find_cuts(levels: Sequence[float], colors: Sequence[float]) -> tuple[int, ...]:
    """Return the first frame of each new scene, from the changes between neighbours (one fewer than frames).

    >>> find_cuts([2, 2, 60, 2, 2], [0, 0, 0.9, 0, 0])
    (3,)
    """
    moving = [at for at, change in enumerate(levels) if change >= REPEATED]
    cuts = []
    for position, at in enumerate(moving):
        near = [levels[other] for other in moving[max(position - NEAR, 0) : position + NEAR + 1] if other != at]
        usual = sum(near) / len(near) if near else 0.0
        stands_out = levels[at] >= max(MIN_CHANGE, MIN_RATIO * usual)
        if stands_out and (colors[at] >= MIN_COLORS or levels[at] >= SURE_RATIO * usual):
            cuts.append(at + 1)
    return tuple(cuts)
