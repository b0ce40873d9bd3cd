"""Synthetic camera moves: the crop window of each frame, for any video.

The reference clips of AnimateDiff's MotionLoRAs come from "rule-based data augmentation". The paper gives the rule for
zooms only: the crop area shrinks or grows along time (section 4.3). The other moves follow the same idea: the crop
window, as large as the move allows, translates (pan, tilt), changes its size (zoom) or rotates (roll).

A shot is named after the motion of the *camera*, so the image content moves the other way: in `pan-right` the window
moves right and the content moves left; in `roll-cw` the window rotates clockwise and the content anticlockwise.

| shot | motion over the whole clip at speed 1 |
|---|---|
| zoom-in, zoom-out | the content grows to twice its size, or shrinks to half, by a constant factor per frame |
| pan-left, pan-right | the window moves by its own width |
| tilt-up, tilt-down | the window moves by its own height |
| roll-cw, roll-ccw | the window rotates by 90 degrees; it is upright in the middle of the clip |
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin

from animdiff_cli.core.choices import Easing, Shot

#: rotation in degrees of a roll at speed 1
ROLL_DEGREES = 90.0
#: direction of translation, x to the right and y down
TRANSLATIONS = {"pan-left": (-1, 0), "pan-right": (1, 0), "tilt-up": (0, -1), "tilt-down": (0, 1)}
#: direction of rotation; clockwise is positive
ROTATIONS = {"roll-cw": 1, "roll-ccw": -1}

#: fraction of the time → fraction of the motion, both from 0 to 1
EASINGS: dict[Easing, Callable[[float], float]] = {
    "linear": lambda time: time,
    "smooth": lambda time: time * time * (3 - 2 * time),
}


@dataclass(frozen=True, slots=True)
class Window:
    """The crop window of one frame: a rectangle centered at (x, y), in pixels, rotated by `angle`.

    x grows to the right and y down from the frame's top left corner; `angle` is in degrees clockwise.
    """

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def corners(self) -> tuple[tuple[float, float], ...]:
        """Return the four corners, clockwise from the one that becomes the top left of the crop."""
        half_width, half_height = self.width / 2, self.height / 2
        cosine, sine = cos(radians(self.angle)), sin(radians(self.angle))
        offsets = (
            (-half_width, -half_height),
            (half_width, -half_height),
            (half_width, half_height),
            (-half_width, half_height),
        )
        return tuple((self.x + u * cosine - v * sine, self.y + u * sine + v * cosine) for u, v in offsets)


def still_window(width: float, height: float, aspect: float, position: tuple[float, float] = (0.5, 0.5)) -> Window:
    """Return the largest upright window of an aspect ratio (width / height).

    `position` places it in the remaining space: (0, 0) is top left, (1, 1) bottom right.
    """
    window_width = min(width, height * aspect)
    return _window_at(width, height, window_width, window_width / aspect, position)


def shot_windows(
    shot: Shot,
    speed: float,
    num_frames: int,
    width: float,
    height: float,
    *,
    aspect: float | None = None,
    position: tuple[float, float] = (0.5, 0.5),
    easing: Easing = "linear",
) -> tuple[Window, ...]:
    """Return the window of each frame for a camera move over frames of `width` × `height` pixels.

    `aspect` is the window's width / height; None: that of the frame. `speed` > 0 is the total motion, in the units of
    the table above. `position` places the move in the remaining space, (0, 0) being top left. Each window lies inside
    the frame, so there are no black corners.

    >>> [round(window.x) for window in shot_windows("pan-right", 0.5, 3, 300, 100)]
    [100, 150, 200]
    >>> [round(window.width) for window in shot_windows("zoom-in", 1, 3, 200, 100)]
    [200, 141, 100]
    >>> [round(window.angle) for window in shot_windows("roll-cw", 1, 3, 200, 100)]
    [-45, 0, 45]
    """
    if num_frames < 2:
        raise ValueError(f"a camera move needs at least 2 frames, got {num_frames}")
    if speed <= 0:
        raise ValueError(f"speed must be above 0, got {speed}")
    aspect = aspect or width / height
    progress = [EASINGS[easing](frame / (num_frames - 1)) for frame in range(num_frames)]
    if shot in TRANSLATIONS:
        return _translate(TRANSLATIONS[shot], speed, progress, width, height, aspect, position)
    if shot in ROTATIONS:
        angles = [ROTATIONS[shot] * ROLL_DEGREES * speed * (share - 0.5) for share in progress]
        return _rotate(angles, width, height, aspect, position)
    zooms = progress if shot == "zoom-in" else [1 - share for share in progress]
    widest = still_window(width, height, aspect, position)
    scales = [(1 + speed) ** -zoom for zoom in zooms]
    return tuple(Window(widest.x, widest.y, widest.width * scale, widest.height * scale) for scale in scales)


def _translate(
    direction: tuple[int, int],
    speed: float,
    progress: list[float],
    width: float,
    height: float,
    aspect: float,
    position: tuple[float, float],
) -> tuple[Window, ...]:
    across, down = abs(direction[0]) * speed, abs(direction[1]) * speed  # in widths and heights of the window
    window_width = min(width / (1 + across), height / (1 + down) * aspect)
    window_height = window_width / aspect
    # the area that the window sweeps is positioned as a whole; the window crosses its center halfway
    swept = _window_at(width, height, window_width * (1 + across), window_height * (1 + down), position)
    return tuple(
        Window(
            swept.x + direction[0] * across * window_width * (share - 0.5),
            swept.y + direction[1] * down * window_height * (share - 0.5),
            window_width,
            window_height,
        )
        for share in progress
    )


def _rotate(
    angles: list[float], width: float, height: float, aspect: float, position: tuple[float, float]
) -> tuple[Window, ...]:
    # bounding box of a window of width 1 over all angles; the size is constant over the clip, so that nothing zooms
    rotations = [(abs(cos(radians(angle))), abs(sin(radians(angle)))) for angle in angles]
    box_width = max(cosine + sine / aspect for cosine, sine in rotations)
    box_height = max(sine + cosine / aspect for cosine, sine in rotations)
    window_width = min(width / box_width, height / box_height)
    box = _window_at(width, height, window_width * box_width, window_width * box_height, position)
    return tuple(Window(box.x, box.y, window_width, window_width / aspect, angle) for angle in angles)


def _window_at(
    width: float, height: float, window_width: float, window_height: float, position: tuple[float, float]
) -> Window:
    x = window_width / 2 + (width - window_width) * position[0]
    y = window_height / 2 + (height - window_height) * position[1]
    return Window(x, y, window_width, window_height)
