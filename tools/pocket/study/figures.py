"""Statistics of measurements: shares, means with intervals, and whether the camera moved as intended."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animdiff_cli.metrics.camera import NOTABLE_ROLL, NOTABLE_SHARE, NOTABLE_ZOOM
from tools.pocket.report import Z_95

#: component of camera motion of each shot, and its sign
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
    """Mean and standard deviation of values, one per clip."""

    value: float
    deviation: float
    of: int

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % confidence interval, 1.96 standard errors either way; None for a single value.

        >>> [round(bound, 3) for bound in Mean(1.0, 0.5, 25).interval()]
        [0.804, 1.196]
        """
        if self.of < 2:
            return None
        reach = Z_95 * self.deviation / math.sqrt(self.of)
        return self.value - reach, self.value + reach

    def as_json(self) -> dict[str, Any]:
        """Return the mean, its interval and the number of values for JSON."""
        return {"mean": self.value, "of": self.of, "interval_95": self.interval()}


def mean(values: Iterable[float]) -> Mean | None:
    """Return mean and deviation; None for no values.

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
    """Return pan, tilt, roll and zoom in units of the least noticeable motion; None if the camera was not tracked.

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
    """Return True if the camera moved as all of `shots` require.

    Each required component must have the right sign, be noticeable, and be larger than every other component, in units
    of the least noticeable motion.

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
