"""Check whether a clip obeys the law of motion of its object, from the track of the object."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tools.pocket.curve_fitting import agreement, bounces, line, wave
from tools.pocket.motion_laws import GROUND
from tools.pocket.track import Track, track

RINGS: Mapping[str, tuple[float, ...]] = {"wheel": (0.55, 0.70, 0.85), "star": (1.2, 1.4, 1.6)}
"""Radii at which the pattern of the wheel and the star is sampled, as multiples of the radius of the object."""

ROOTED = frozenset({"flower"})
"""Kinds whose foot must not move."""

FLAP_S = (0.42, 0.58)
"""Bounds of the period of wings and tail in seconds; they beat twice a second."""


@dataclass(frozen=True, slots=True)
class Check:
    """A measured value and its allowed range. Lengths are fractions of the frame."""

    what: str
    value: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def holds(self) -> bool:
        """True if the value is in its range."""
        return self.least <= self.value <= self.most


def obeys(frames: np.ndarray, kind: str, colour: str, style: str = "base", *, fps: float = 8.0) -> bool:
    """Return True if the object of this kind and colour moves in `frames` (uint8 [F, H, W, 3]) according to its law.

    The object is detected by the colour that `style` gives it.
    """
    return all(check.holds for check in checks(frames, kind, colour, style, fps=fps))


def checks(frames: np.ndarray, kind: str, colour: str, style: str = "base", *, fps: float = 8.0) -> tuple[Check, ...]:
    """Return the checks of the law of `kind`: first the visibility of the object, then its motion."""
    followed = track(frames, colour, style, rings=RINGS.get(kind, (1.0,)))
    seen = Check("share of frames with the object", float(followed.visible.mean()), least=0.94)
    stir = _foot_stir(frames, float(np.median(_ends(followed.x))), float(np.median(followed.y)))
    rooted = (Check("stir of the foot over the head's", stir, most=0.25),)
    return (seen, *CHECKS[kind](followed, fps), *(rooted if kind in ROOTED else ()))


def _rocket(seen: Track, fps: float) -> tuple[Check, ...]:
    climb = line(seen.y, fps)
    return (
        Check("climb per second", -climb.size, least=0.12),
        Check("steadiness of the climb", climb.explains, least=0.95),
        Check("sideways range", _range(seen.x), most=0.08),
    )


def _ball(seen: Track, fps: float) -> tuple[Check, ...]:
    flight = bounces(seen.y, fps, (0.75, 1.25))
    return (
        Check("height of the bounce", -flight.size, least=0.20),
        Check("fit of the parabolas", flight.explains, least=0.85),
        Check("sideways range", _range(seen.x), most=0.10),
    )


def _fish(seen: Track, fps: float) -> tuple[Check, ...]:
    swim = wave(seen.x, fps, (1.4, 2.6))
    return (
        Check("reach of the swim", swim.size, least=0.08),
        Check("fit of to and fro", swim.explains, least=0.90),
        Check("range of height", _range(seen.y), most=0.08),
        Check("beat of the tail", _tail_beat(seen, swim.size, fps), least=0.03),
    )


def _wheel(seen: Track, fps: float) -> tuple[Check, ...]:
    way = line(seen.x, fps)
    spin = seen.turn[1:]
    slip = float(np.median(spin)) * fps * _rim(seen) / way.size if way.size else 0.0
    return (
        Check("way per second", abs(way.size), least=0.12),
        Check("steadiness of the way", way.explains, least=0.95),
        Check("range of height", _range(seen.y), most=0.06),
        Check("turn over way on the rim", slip, least=0.6, most=1.4),
        Check("share of frames turning with the way", float((spin * way.size > 0).mean()), least=0.8),
    )


def _balloon(seen: Track, fps: float) -> tuple[Check, ...]:
    climb, swing = line(seen.y, fps), wave(seen.x, fps, (1.3, 2.2))
    return (
        Check("climb per second", -climb.size, least=0.07),
        Check("steadiness of the climb", climb.explains, least=0.90),
        Check("sway", swing.size, least=0.04),
        Check("fit of the sway", swing.explains, least=0.85),
    )


def _boat(seen: Track, fps: float) -> tuple[Check, ...]:
    heel = wave(seen.tilt, fps, (1.2, 2.1))
    return (
        Check("heel in degrees", math.degrees(heel.size), least=9),
        Check("fit of the rocking", heel.explains, least=0.80),
        Check("sideways range", _range(seen.x), most=0.14),
        Check("range of height", _range(seen.y), most=0.12),
    )


def _flower(seen: Track, fps: float) -> tuple[Check, ...]:
    swing = wave(seen.x, fps, (1.3, 2.2))
    return (
        Check("sway of the head", swing.size, least=0.06),
        Check("fit of the sway", swing.explains, least=0.90),
        Check("range of height", _range(seen.y), most=0.06),
    )


def _star(seen: Track, fps: float) -> tuple[Check, ...]:
    twinkle = wave(seen.scale, fps, (0.85, 1.4))
    spin = np.degrees(seen.turn[1:])
    return (
        Check("change of size", twinkle.size / seen.scale.mean(), least=0.10),
        Check("fit of the twinkling", twinkle.explains, least=0.85),
        Check("turn per frame in degrees", abs(float(np.median(spin))), least=4, most=14),
        Check("share of frames turning one way", _one_way(spin), least=0.8),
        Check("range of place", max(_range(seen.x), _range(seen.y)), most=0.06),
    )


def _heart(seen: Track, fps: float) -> tuple[Check, ...]:
    beat = wave(seen.scale, fps, (0.7, 1.15))
    return (
        Check("change of size", beat.size / seen.scale.mean(), least=0.07),
        Check("fit of the beating", beat.explains, least=0.75),
        Check("range of place", max(_range(seen.x), _range(seen.y)), most=0.06),
    )


def _leaf(seen: Track, fps: float) -> tuple[Check, ...]:
    fall, swing = line(seen.y, fps), wave(seen.x, fps, (1.15, 1.95))
    tilt = wave(seen.tilt, fps, (1.15, 1.95))
    return (
        Check("fall per second", fall.size, least=0.12),
        Check("steadiness of the fall", fall.explains, least=0.93),
        Check("sway", swing.size, least=0.05),
        Check("fit of the sway", swing.explains, least=0.80),
        Check("tilt in degrees", math.degrees(tilt.size), least=15),
        Check("fit of the tilt", tilt.explains, least=0.75),
    )


def _bird(seen: Track, fps: float) -> tuple[Check, ...]:
    way, flap = line(seen.x, fps), wave(seen.heavy, fps, FLAP_S)
    return (
        Check("way per second", abs(way.size), least=0.12),
        Check("steadiness of the way", way.explains, least=0.95),
        Check("beat of the wings", flap.size, least=0.12),
        Check("fit of the beat", flap.explains, least=0.60),
    )


def _bell(seen: Track, fps: float) -> tuple[Check, ...]:
    swing = wave(seen.x, fps, (1.15, 1.95))
    return (
        Check("swing", swing.size, least=0.05),
        Check("fit of the swing", swing.explains, least=0.90),
        Check("range of height", _range(seen.y), most=0.10),
        Check("mouth swings out with the bell", agreement(seen.lopsided, seen.x), least=0.7),
    )


CHECKS: Mapping[str, Callable[[Track, float], tuple[Check, ...]]] = {
    "rocket": _rocket,
    "ball": _ball,
    "fish": _fish,
    "wheel": _wheel,
    "balloon": _balloon,
    "boat": _boat,
    "flower": _flower,
    "star": _star,
    "heart": _heart,
    "leaf": _leaf,
    "bird": _bird,
    "bell": _bell,
}


def _range(signal: np.ndarray) -> float:
    """Return the range of the values, without the lowest and the highest one."""
    ordered = np.sort(signal)
    return float(ordered[-2] - ordered[1])


def _rim(seen: Track) -> float:
    """Return the outer radius of the wheel: 1.65 times the root mean square radius of its coloured parts, as drawn."""
    return 1.65 * float(np.median(seen.radius))


def _tail_beat(seen: Track, reach: float, fps: float) -> float:
    """Return the relative change in length of the fish by its beat, without the frames in which it turns."""
    straight = np.abs(seen.x - np.median(_ends(seen.x))) < 0.85 * reach
    if straight.sum() < 6:
        return 0.0
    return wave(seen.radius, fps, FLAP_S, frames=straight).size / float(seen.radius[straight].mean())


def _foot_stir(frames: np.ndarray, x: float, y: float) -> float:
    """Return the change of pixels over time around the foot, relative to that around the head at (x, y)."""
    side = frames.shape[1]
    columns = slice(max(0, round((x - 0.2) * side)), round((x + 0.2) * side))
    stir = frames[:, :, columns].astype(np.float32).std(axis=0).mean(axis=2)
    foot, head = (
        np.quantile(stir[round((row - 0.04) * side) : round((row + 0.04) * side)].mean(axis=0), 0.8)
        for row in (GROUND - 0.02, max(0.04, y))
    )
    return float(foot / max(head, 1e-6))


def _ends(signal: np.ndarray) -> np.ndarray:
    return np.array([signal.min(), signal.max()])


def _one_way(spin: np.ndarray) -> float:
    return float(max((spin > 0).mean(), (spin < 0).mean()))
