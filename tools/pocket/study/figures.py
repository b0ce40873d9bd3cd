"""What single readings come to: shares, means with their uncertainty, and whether a camera did what it should."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animdiff_cli.metrics.camera import NOTABLE_ROLL, NOTABLE_SHARE, NOTABLE_ZOOM
from tools.pocket.report import Z_95

#: which component of the camera each shot is, and its sign
WANTED: Mapping[str, tuple[str, int]] = {
    "zoom-in": ("zoom", 1),
    "zoom-out": ("zoom", -1),
    "pan-left": ("pan", -1),
    "pan-right": ("pan", 1),
    "tilt-up": ("tilt", 1),
    "tilt-down": ("tilt", -1),
    "roll-cw": ("roll", 1),
    "roll-ccw": ("roll", -1),
}


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of some values, one for each clip, and their standard deviation."""

    value: float
    deviation: float
    of: int

    def interval(self) -> tuple[float, float] | None:
        """Bound the true mean with about 95 % confidence: 1.96 standard errors either way. None for a single value.

        >>> [round(bound, 3) for bound in Mean(1.0, 0.5, 25).interval()]
        [0.804, 1.196]
        """
        if self.of < 2:
            return None
        reach = Z_95 * self.deviation / math.sqrt(self.of)
        return self.value - reach, self.value + reach

    def as_json(self) -> dict[str, Any]:
        """Tell the mean, its interval and how many values it is of."""
        return {"mean": self.value, "of": self.of, "interval_95": self.interval()}


def mean(values: Iterable[float]) -> Mean | None:
    """Average; None of nothing.

    >>> mean([1.0, 3.0])
    Mean(value=2.0, deviation=1.4142135623730951, of=2)
    """
    known = list(values)
    if not known:
        return None
    middle = sum(known) / len(known)
    spread = sum((value - middle) ** 2 for value in known) / max(1, len(known) - 1)
    return Mean(middle, math.sqrt(spread), len(known))


def noticeable(camera: Mapping[str, Any]) -> dict[str, float] | None:
    """Measure pan, tilt, roll and zoom in units of what can just be noticed; None where the camera was lost.

    >>> noticeable({"pan": 0.64, "tilt": 0.0, "roll": -0.15, "zoom": 1.0, "width": 128})
    {'pan': 2.0, 'tilt': 0.0, 'roll': -1.0, 'zoom': 0.0}
    """
    if camera["pan"] is None:
        return None
    least = NOTABLE_SHARE * camera["width"]
    return {
        "pan": camera["pan"] / least,
        "tilt": camera["tilt"] / least,
        "roll": camera["roll"] / NOTABLE_ROLL,
        "zoom": (camera["zoom"] - 1) / NOTABLE_ZOOM,
    }


def is_right(camera: Mapping[str, Any], shots: Sequence[str]) -> bool:
    """Decide whether the camera moved as all of `shots` say.

    Each wanted component must have the right sign, be noticeable, and be larger than every one that is not wanted, all
    in units of what can just be noticed.

    >>> is_right({"pan": 2.0, "tilt": 0.1, "roll": 0.0, "zoom": 1.0, "width": 128}, ["pan-right"])
    True
    >>> is_right({"pan": 2.0, "tilt": 2.5, "roll": 0.0, "zoom": 1.0, "width": 128}, ["pan-right"])
    False
    """
    moved = noticeable(camera)
    if moved is None:
        return False
    wanted = dict(WANTED[shot] for shot in shots)
    others = max((abs(size) for component, size in moved.items() if component not in wanted), default=0.0)
    return all(moved[component] * sign > max(1.0, others) for component, sign in wanted.items())
