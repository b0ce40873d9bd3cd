"""The laws of motion: position, rotation and stretch of each kind of object over time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

TAU = 2 * math.pi

GROUND = 0.86
"""Height of the ground objects stand on, as a fraction of the frame from its top."""

MIDDLE_S = 15 / 16
"""The middle of a clip of 16 frames at 8 fps: travellers are half way then."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of an object at one moment.

    `x`, `y` place its anchor, in fractions of the frame; `angle` is clockwise in radians; `stretch` scales its own
    axes; `beat` is the phase in radians of its moving part: tail, wings, flame.
    """

    x: float
    y: float
    angle: float = 0.0
    stretch: tuple[float, float] = (1.0, 1.0)
    beat: float = 0.0


@dataclass(frozen=True, slots=True)
class Start:
    """Initial values of the law of a scene. `size` is a fraction of the frame, `heading` +1 (right) or -1 (left)."""

    x: float
    y: float
    size: float
    phase: float
    speed: float
    heading: int


@dataclass(frozen=True, slots=True)
class Law:
    """How one kind of object moves, and the ranges from which scenes of it are drawn."""

    pose: Callable[[Start, float], Pose]
    x: Range = field(default=(0.34, 0.66))
    y: Range = field(default=(0.44, 0.56))
    size: Range = field(default=(0.32, 0.38))


def rise(start: Start, time: float) -> Pose:
    """Climb straight up at constant speed: the rocket."""
    return Pose(start.x, start.y - 0.24 * start.speed * (time - MIDDLE_S), beat=start.phase + TAU * 3.1 * time)


def bounce(start: Start, time: float) -> Pose:
    """Fall and rebound on parabolas from the ground, flattened where it touches: the ball."""
    flight = (start.phase / TAU + time * start.speed / 0.95) % 1.0
    height = 4 * flight * (1 - flight)
    flat = 0.22 * max(0.0, 1 - height / 0.3) ** 2
    radius = start.size / 2
    y = GROUND - radius * (1 - flat) - 0.40 * height
    turn = 0.5 * start.heading * time
    return Pose(start.x, y, angle=turn, stretch=(1 + 0.7 * flat, 1 - flat))


def swim(start: Start, time: float) -> Pose:
    """Go to and fro along a level line, turning at both ends, the tail beating twice a second: the fish."""
    swing = start.phase + TAU * time * start.speed / 1.9
    facing = max(-1.0, min(1.0, 3.0 * math.cos(swing)))
    facing = math.copysign(max(0.4, abs(facing)), facing)
    return Pose(start.x + 0.17 * math.sin(swing), start.y, stretch=(facing, 1.0), beat=TAU * 2.0 * time + start.phase)


def roll(start: Start, time: float) -> Pose:
    """Roll over the ground without slipping: the wheel."""
    way = start.heading * 0.27 * start.speed * (time - MIDDLE_S)
    return Pose(start.x + way, GROUND - start.size / 2, angle=start.phase + way / (start.size / 2))


def drift(start: Start, time: float) -> Pose:
    """Rise slowly while swaying from side to side: the balloon."""
    swing = start.phase + TAU * time * start.speed / 1.7
    x = start.x + 0.085 * math.sin(swing)
    return Pose(x, start.y - 0.15 * (time - MIDDLE_S), angle=0.22 * math.cos(swing), beat=swing)


def rock(start: Start, time: float) -> Pose:
    """Heel over to either side about the hull: the boat."""
    swing = start.phase + TAU * time * start.speed / 1.6
    return Pose(start.x, start.y + 0.012 * math.sin(2 * swing), angle=0.42 * math.sin(swing))


def sway(start: Start, time: float) -> Pose:
    """Bend to either side about the foot: the flower."""
    swing = start.phase + TAU * time * start.speed / 1.7
    return Pose(start.x, GROUND + 0.02, angle=0.38 * math.sin(swing))


def twinkle(start: Start, time: float) -> Pose:
    """Turn in place while growing and shrinking: the star."""
    scale = 1 + 0.24 * math.sin(start.phase + TAU * time * start.speed / 1.1)
    turn = start.heading * math.radians(70) * start.speed * time + start.phase
    return Pose(start.x, start.y, angle=turn, stretch=(scale, scale))


def throb(start: Start, time: float) -> Pose:
    """Swell quickly and relax slowly, upright and in place: the heart."""
    moment = (start.phase / TAU + time * start.speed / 0.9) % 1.0
    scale = 0.86 + 0.36 * math.sin(math.pi * moment**0.6) ** 2
    return Pose(start.x, start.y, stretch=(scale, scale))


def flutter_down(start: Start, time: float) -> Pose:
    """Sink steadily, gliding to the left and right and tilting with it: the leaf."""
    swing = start.phase + TAU * time * start.speed / 1.5
    x = start.x + 0.11 * math.sin(swing)
    return Pose(x, start.y + 0.24 * (time - MIDDLE_S), angle=0.75 * math.cos(swing))


def fly(start: Start, time: float) -> Pose:
    """Cross the frame on a level line, the wings beating twice a second: the bird."""
    way = start.heading * 0.25 * start.speed * (time - MIDDLE_S)
    beat = start.phase + TAU * 2.0 * time
    return Pose(start.x + way, start.y + 0.02 * math.cos(beat), stretch=(start.heading, 1.0), beat=beat)


def swing_from_top(start: Start, time: float) -> Pose:
    """Swing about the point it hangs from: the bell."""
    swing = start.phase + TAU * time * start.speed / 1.5
    return Pose(start.x, start.y, angle=0.52 * math.sin(swing), beat=swing)


LAWS: Mapping[str, Law] = {
    "rocket": Law(rise, x=(0.28, 0.72), y=(0.47, 0.51), size=(0.42, 0.48)),
    "ball": Law(bounce, x=(0.26, 0.74), size=(0.31, 0.36)),
    "fish": Law(swim, x=(0.44, 0.56), y=(0.38, 0.64), size=(0.42, 0.48)),
    "wheel": Law(roll, x=(0.47, 0.53), size=(0.36, 0.42)),
    "balloon": Law(drift, x=(0.36, 0.64), y=(0.40, 0.46), size=(0.35, 0.40)),
    "boat": Law(rock, y=(0.54, 0.64), size=(0.45, 0.51)),
    "flower": Law(sway, size=(0.46, 0.52)),
    "star": Law(twinkle, y=(0.38, 0.60), size=(0.38, 0.44)),
    "heart": Law(throb, y=(0.40, 0.60), size=(0.38, 0.44)),
    "leaf": Law(flutter_down, x=(0.40, 0.60), y=(0.47, 0.53), size=(0.40, 0.45)),
    "bird": Law(fly, x=(0.47, 0.53), y=(0.36, 0.58), size=(0.42, 0.48)),
    "bell": Law(swing_from_top, x=(0.38, 0.62), y=(0.18, 0.24), size=(0.40, 0.45)),
}
