"""Camera moves made from any footage: which part of each frame the camera sees.

AnimateDiff gets the reference clips of its MotionLoRAs "via rule-based data augmentation", and of the rules tells one:
zooms shrink or grow the crop along time (section 4.3). The others follow the same idea here. A window, the largest that
the move leaves room for, travels over the frame (pan, tilt), changes its size (zoom) or turns (roll).

The name says what the *camera* does, so what is seen goes the other way: in `pan-right` the window moves right and the
picture moves left; in `roll-cw` the window turns clockwise and the picture turns anticlockwise.

| shot | speed 1 over the whole clip |
|---|---|
| zoom-in, zoom-out | things grow to twice their size, or shrink from it, at a constant rate per frame |
| pan-left, pan-right | the camera travels one width of what it sees |
| tilt-up, tilt-down | the camera travels one height of what it sees |
| roll-cw, roll-ccw | the camera turns by a quarter, the middle frame being upright |
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin

from animdiff_cli.core.choices import Easing, Shot

#: degrees that a roll of speed 1 turns
QUARTER = 90.0
#: direction of travel on the screen, x to the right and y down
TRAVEL = {"pan-left": (-1, 0), "pan-right": (1, 0), "tilt-up": (0, -1), "tilt-down": (0, 1)}
#: clockwise on the screen is positive
TURN = {"roll-cw": 1, "roll-ccw": -1}

#: share of the time → share of the way, both from 0 to 1
EASINGS: dict[Easing, Callable[[float], float]] = {
    "linear": lambda time: time,
    "smooth": lambda time: time * time * (3 - 2 * time),
}


@dataclass(frozen=True, slots=True)
class Window:
    """What the camera sees of one frame: a rectangle about (x, y), in pixels of the frame, turned by `angle`.

    x grows to the right and y down, both from the frame's top left corner; `angle` is degrees clockwise.
    """

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def corners(self) -> tuple[tuple[float, float], ...]:
        """Its four corners, clockwise from the one that becomes the top left of the picture."""
        along, down = self.width / 2, self.height / 2
        turn, rise = cos(radians(self.angle)), sin(radians(self.angle))
        offsets = ((-along, -down), (along, -down), (along, down), (-along, down))
        return tuple((self.x + u * turn - v * rise, self.y + u * rise + v * turn) for u, v in offsets)


def still_window(width: float, height: float, aspect: float, place: tuple[float, float] = (0.5, 0.5)) -> Window:
    """The largest upright window of the given aspect (width / height); `place` puts it, from (0, 0) to (1, 1)."""
    across = min(width, height * aspect)
    return _placed(width, height, across, across / aspect, place)


def shot_windows(
    shot: Shot,
    speed: float,
    num_frames: int,
    width: float,
    height: float,
    *,
    aspect: float | None = None,
    place: tuple[float, float] = (0.5, 0.5),
    easing: Easing = "linear",
) -> tuple[Window, ...]:
    """Move a window of `aspect` (width / height; the frame's own if None) over frames of `width` × `height` pixels.

    Each window lies within its frame, so there are no black corners. `speed` above 0 is the whole way, in the units of
    the table above; `place` chooses where the move happens in the room that it leaves, (0, 0) being top left.

    >>> [round(window.x) for window in shot_windows("pan-right", 0.5, 3, 300, 100)]
    [100, 150, 200]
    >>> [round(window.width) for window in shot_windows("zoom-in", 1, 3, 200, 100)]
    [200, 141, 100]
    >>> [round(window.angle) for window in shot_windows("roll-cw", 1, 3, 200, 100)]
    [-45, 0, 45]
    """
    if num_frames < 2:
        raise ValueError(f"a camera move takes at least 2 frames, got {num_frames}")
    if speed <= 0:
        raise ValueError(f"speed must be above 0, got {speed}")
    aspect = aspect or width / height
    ways = [EASINGS[easing](frame / (num_frames - 1)) for frame in range(num_frames)]
    if shot in TRAVEL:
        return _travel(TRAVEL[shot], speed, ways, width, height, aspect, place)
    if shot in TURN:
        turns = [TURN[shot] * QUARTER * speed * (way - 0.5) for way in ways]
        return _turn(turns, width, height, aspect, place)
    zooms = ways if shot == "zoom-in" else [1 - way for way in ways]
    widest = still_window(width, height, aspect, place)
    sizes = [(1 + speed) ** -zoom for zoom in zooms]
    return tuple(Window(widest.x, widest.y, widest.width * size, widest.height * size) for size in sizes)


def _travel(
    direction: tuple[int, int],
    speed: float,
    ways: list[float],
    width: float,
    height: float,
    aspect: float,
    place: tuple[float, float],
) -> tuple[Window, ...]:
    across, down = abs(direction[0]) * speed, abs(direction[1]) * speed
    window = min(width / (1 + across), height / (1 + down) * aspect)
    wide, high = window, window / aspect
    # the whole way is placed like one larger window, then run through from its middle
    middle = _placed(width, height, wide * (1 + across), high * (1 + down), place)
    steps = [way - 0.5 for way in ways]
    return tuple(
        Window(middle.x + direction[0] * across * wide * step, middle.y + direction[1] * down * high * step, wide, high)
        for step in steps
    )


def _turn(
    angles: list[float], width: float, height: float, aspect: float, place: tuple[float, float]
) -> tuple[Window, ...]:
    # a turned window of width 1 takes this much room; the size stays the same over the clip, or it would zoom as well
    turns = [(abs(cos(radians(angle))), abs(sin(radians(angle)))) for angle in angles]
    room_across = max(turn + rise / aspect for turn, rise in turns)
    room_down = max(rise + turn / aspect for turn, rise in turns)
    window = min(width / room_across, height / room_down)
    room = _placed(width, height, window * room_across, window * room_down, place)
    return tuple(Window(room.x, room.y, window, window / aspect, angle) for angle in angles)


def _placed(width: float, height: float, wide: float, high: float, place: tuple[float, float]) -> Window:
    return Window(wide / 2 + (width - wide) * place[0], high / 2 + (height - high) * place[1], wide, high)
