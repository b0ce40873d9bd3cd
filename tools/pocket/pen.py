"""Drawing in the coordinates of an object that is translated, rotated and stretched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import ImageDraw

from tools.pocket.colour import BLACK, RGB, WHITE, mix
from tools.pocket.styles import Style

Point = tuple[float, float]
Points = Sequence[Point] | np.ndarray


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws at `matrix @ point + origin`; object coordinates run right and down, ±1 is the object's half size.

    `matrix` is [2, 2] and `origin` [2], both in pixels of the canvas. `colour` is the object's own.
    """

    canvas: ImageDraw.ImageDraw
    style: Style
    colour: RGB
    matrix: np.ndarray
    origin: np.ndarray
    outline_px: int

    @property
    def light(self) -> RGB:
        """The object's colour in light."""
        return mix(self.colour, WHITE, 0.42)

    @property
    def dark(self) -> RGB:
        """The object's colour in shade."""
        return mix(self.colour, BLACK, 0.28)

    @property
    def outline(self) -> RGB:
        """The colour of the object's contour."""
        return self.style.outline(self.colour)

    def at(self, x: float, y: float, *, angle: float = 0.0, stretch: Point = (1.0, 1.0)) -> "Pen":
        """Move the pen's origin to (x, y), then turn clockwise by `angle` radians and stretch."""
        turn = rotation(angle) * np.asarray(stretch)
        return replace(self, matrix=self.matrix @ turn, origin=self.matrix @ (x, y) + self.origin)

    def polygon(self, points: Points, fill: RGB | tuple[int, int, int, int], *, outline: RGB | None = None) -> None:
        """Fill a closed shape; with `outline`, draw its contour around it."""
        corners = self._on_canvas(points)
        if outline is not None:
            ring = corners + corners[:4]
            self.canvas.line(ring, fill=outline, width=2 * self.outline_px, joint="curve")
        self.canvas.polygon(corners, fill=fill)

    def disc(
        self,
        centre: Point,
        radius: float,
        fill: RGB | tuple[int, int, int, int],
        *,
        tall: float = 1.0,
        outline: RGB | None = None,
    ) -> None:
        """Fill an ellipse `radius` wide and `radius * tall` high on either side of `centre`."""
        self.polygon(ellipse(centre, radius, radius * tall), fill, outline=outline)

    def stroke(self, points: Points, width: float, fill: RGB) -> None:
        """Draw an open line; `width` is in object units."""
        pixels = max(1, round(width * math.sqrt(abs(np.linalg.det(self.matrix)))))
        self.canvas.line(self._on_canvas(points), fill=fill, width=pixels, joint="curve")

    def _on_canvas(self, points: Points) -> list[float]:
        placed = np.asarray(points, dtype=float) @ self.matrix.T + self.origin
        return placed.ravel().tolist()


def rotation(angle: float) -> np.ndarray:
    """Turn clockwise on a canvas whose y axis points down: [2, 2]."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def ellipse(centre: Point, across: float, down: float, *, corners: int = 28) -> np.ndarray:
    """Corners of an ellipse with half axes `across` and `down`: [corners, 2]."""
    return arc(centre, across, down, 0.0, 2 * math.pi * (1 - 1 / corners), corners=corners)


def arc(centre: Point, across: float, down: float, start: float, stop: float, *, corners: int = 16) -> np.ndarray:
    """Points along an ellipse from angle `start` to `stop`, clockwise from the right: [corners, 2]."""
    angles = np.linspace(start, stop, corners)
    return np.stack([centre[0] + across * np.cos(angles), centre[1] + down * np.sin(angles)], axis=1)


def smooth(points: Points, *, corners: int = 8) -> np.ndarray:
    """Round a closed polygon by a Catmull-Rom curve through its points: [len(points) * corners, 2]."""
    knots = np.asarray(points, dtype=float)
    before, after, beyond = (np.roll(knots, shift, axis=0)[:, None] for shift in (1, -1, -2))
    t = np.linspace(0, 1, corners, endpoint=False)[None, :, None]
    here = knots[:, None]
    curve = 2 * here + (after - before) * t
    curve = curve + (2 * before - 5 * here + 4 * after - beyond) * t**2
    curve = curve + (3 * here - before - 3 * after + beyond) * t**3
    return (curve / 2).reshape(-1, 2)
