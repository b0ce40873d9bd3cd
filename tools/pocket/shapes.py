"""Shapes of the objects, drawn in object coordinates: ±1 is half the size, y points down."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from tools.pocket.motion_laws import Pose
from tools.pocket.pen import Pen, arc, smooth

CREAM = (255, 248, 232)
CREAM_SHADE = (232, 220, 204)
GLASS = (196, 232, 248)
INK = (30, 28, 40)
TYRE = (58, 56, 68)
WOOD = (150, 98, 58)
STEM = (58, 128, 62)
STEM_DARK = (34, 78, 42)
BRASS = (168, 132, 70)


def rocket(pen: Pen, pose: Pose) -> None:
    """Nose up, two fins, a round window, a flame that flickers with the beat."""
    flame = 0.22 * math.sin(pose.beat) + 0.08 * math.sin(2.3 * pose.beat)
    pen.polygon(smooth([(-0.26, 0.62), (0, 1.18 + flame), (0.26, 0.62)]), (255, 150, 40), outline=(196, 70, 20))
    pen.polygon(smooth([(-0.13, 0.62), (0, 0.92 + flame * 0.6), (0.13, 0.62)]), (255, 238, 150))
    for side in (-1, 1):
        fin = [(side * 0.28, 0.12), (side * 0.62, 0.50), (side * 0.62, 0.82), (side * 0.24, 0.62)]
        pen.polygon(fin, pen.dark, outline=pen.outline)
    body = [(0, -1.06), (0.33, -0.58), (0.42, -0.05), (0.30, 0.66), (-0.30, 0.66), (-0.42, -0.05), (-0.33, -0.58)]
    pen.polygon(smooth(body), pen.colour, outline=pen.outline)
    pen.polygon(smooth([(-0.08, -0.84), (-0.16, -0.45), (-0.18, 0.42), (-0.28, -0.05), (-0.22, -0.5)]), pen.light)
    pen.disc((0.02, -0.28), 0.19, pen.outline)
    pen.disc((0.02, -0.28), 0.135, GLASS)


def ball(pen: Pen, pose: Pose) -> None:
    """A beach ball with two cream panels and a highlight."""
    pen.disc((0, 0), 0.96, pen.colour, outline=pen.outline)
    for turn in (0.0, math.pi):
        wedge = arc((0, 0), 0.96, 0.96, turn - 0.42, turn + 0.42)
        pen.polygon([(0, 0), *wedge], CREAM)
    pen.disc((0, 0), 0.17, pen.dark)
    upright = pen.at(0, 0, angle=-pose.angle)
    upright.disc((-0.36, -0.44), 0.2, (255, 255, 255, 120), tall=0.7)


def fish(pen: Pen, pose: Pose) -> None:
    """Facing right; the tail swings with the beat."""
    beat = math.sin(pose.beat)
    tail = pen.at(-0.50, 0, stretch=(0.80 + 0.30 * beat, 1.0))
    tail.polygon(
        smooth([(0.08, 0), (-0.52, -0.50 - 0.1 * beat), (-0.36, 0), (-0.52, 0.50 + 0.1 * beat)], corners=6),
        pen.dark,
        outline=pen.outline,
    )
    pen.polygon(smooth([(-0.20, -0.38), (0.02, -0.80), (0.36, -0.42)]), pen.dark, outline=pen.outline)
    pen.disc((0.16, 0), 0.74, pen.colour, tall=0.68, outline=pen.outline)
    pen.disc((0.18, 0.22), 0.48, pen.light, tall=0.42)
    pen.stroke(arc((0.24, 0), 0.16, 0.38, -1.2, 1.2), 0.05, pen.outline)
    pen.polygon(smooth([(0.06, 0.06), (-0.26, 0.18 + 0.12 * beat), (-0.02, 0.30)]), pen.dark)
    pen.disc((0.58, -0.14), 0.15, (255, 255, 255))
    pen.disc((0.62, -0.14), 0.08, INK)


def wheel(pen: Pen, pose: Pose) -> None:
    """A dark tyre, a coloured rim with five spokes and a cream hub."""
    pen.disc((0, 0), 0.98, TYRE)
    pen.disc((0, 0), 0.80, pen.colour)
    for corner in range(4):
        gap = 2 * math.pi * corner / 4
        pen.polygon(
            [*arc((0, 0), 0.64, 0.64, gap + 0.28, gap + 1.29), *arc((0, 0), 0.26, 0.26, gap + 1.1, gap + 0.47)], CREAM
        )
    pen.disc((0, 0), 0.15, pen.outline)
    pen.disc((0.89, 0), 0.07, CREAM)


def balloon(pen: Pen, pose: Pose) -> None:
    """Above its knot, a string that trails the sway."""
    trail = 0.24 * math.cos(pose.beat)
    down = np.linspace(0, 1, 12)
    string = np.stack([trail * np.sin(3.2 * down) - 0.5 * trail * down, 0.84 + 0.92 * down], axis=1)
    pen.stroke(string, 0.13, (96, 90, 104))
    pen.stroke(string, 0.07, (250, 246, 238))
    pen.polygon([(-0.15, 0.96), (0, 0.72), (0.15, 0.96)], pen.dark, outline=pen.outline)
    shape = [
        (0, -1.02),
        (0.60, -0.76),
        (0.80, -0.20),
        (0.54, 0.42),
        (0, 0.82),
        (-0.54, 0.42),
        (-0.80, -0.20),
        (-0.60, -0.76),
    ]
    pen.polygon(smooth(shape), pen.colour, outline=pen.outline)
    pen.polygon(smooth([(0.66, -0.2), (0.44, 0.36), (0.06, 0.72), (0.40, 0.20), (0.52, -0.36)]), pen.dark)
    pen.at(-0.32, -0.46, angle=0.5).disc((0, 0), 0.15, (255, 255, 255, 190), tall=1.7)


def boat(pen: Pen, pose: Pose) -> None:
    """A deep hull, a mast with two cream sails and a pennant, and water that stays level beneath."""
    pen.stroke([(0, 0.20), (0, -1.04)], 0.09, WOOD)
    pen.polygon([(0.04, -1.06), (0.44, -0.96), (0.04, -0.84)], CREAM, outline=pen.outline)
    mainsail = [(0.09, -0.76), (0.44, -0.30), (0.70, 0.08), (0.09, 0.08)]
    pen.polygon(smooth(mainsail, corners=5), CREAM, outline=pen.outline)
    pen.polygon([(-0.09, -0.82), (-0.60, 0.08), (-0.09, 0.08)], CREAM_SHADE, outline=pen.outline)
    hull = [(-0.98, 0.18), (1.02, 0.14), (0.80, 0.52), (0.56, 0.74), (-0.54, 0.74), (-0.80, 0.52)]
    pen.polygon(hull, pen.colour, outline=pen.outline)
    pen.polygon([(-0.98, 0.18), (1.02, 0.14), (0.96, 0.25), (-0.92, 0.29)], pen.dark)
    for x in (-0.44, 0.0, 0.44):
        pen.disc((x, 0.44), 0.085, CREAM)
    water = pen.at(0, 0, angle=-pose.angle)
    xs = np.linspace(-1.15, 1.15, 28)
    crest = np.stack([xs, 0.78 + 0.05 * np.sin(9 * xs)], axis=1)
    water.polygon([*crest, (0.86, 1.02), (-0.86, 1.02)], (122, 172, 200))
    water.stroke(crest, 0.06, (232, 244, 248))


def flower(pen: Pen, pose: Pose) -> None:
    """Foot at the origin; stem and head bend with the angle."""
    upright = pen.at(0, 0, angle=-pose.angle)
    height = np.linspace(0, 1, 14)
    lean = math.tan(pose.angle) * 1.25
    stem = np.stack([lean * height**1.8, -1.34 * height], axis=1)
    upright.stroke(stem, 0.17, STEM_DARK)
    upright.stroke(stem, 0.09, STEM)
    for side, low in ((-1, 4), (1, 6)):
        x, y = stem[low]
        blade = [(x, y), (x + side * 0.30, y - 0.28), (x + side * 0.50, y - 0.24), (x + side * 0.32, y - 0.04)]
        upright.polygon(smooth(blade), STEM, outline=STEM_DARK)
    head = upright.at(stem[-1][0], stem[-1][1] - 0.14, angle=1.2 * pose.angle)
    petals = [head.at(0, 0, angle=2 * math.pi * petal / 6) for petal in range(6)]
    for petal in petals:
        petal.disc((0, -0.40), 0.25, pen.colour, tall=1.15, outline=pen.outline)
    for petal in petals:
        petal.disc((0, -0.38), 0.25, pen.colour, tall=1.1)
        petal.disc((0, -0.44), 0.10, pen.light, tall=1.5)
    head.disc((0, 0), 0.24, (255, 226, 120), outline=pen.outline)


def star(pen: Pen, pose: Pose) -> None:
    """Five rounded points, one half of each in shade."""
    angles = -math.pi / 2 + np.arange(10) * math.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.50)
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    pen.polygon(points, pen.colour, outline=pen.outline)
    for tip in range(0, 10, 2):
        pen.polygon([(0, 0), points[tip], points[tip + 1]], pen.light)
    pen.disc((-0.17, -0.02), 0.07, INK, tall=1.4)
    pen.disc((0.17, -0.02), 0.07, INK, tall=1.4)
    pen.stroke(arc((0, 0.12), 0.15, 0.12, 0.3, math.pi - 0.3, corners=8), 0.06, INK)


def heart(pen: Pen, pose: Pose) -> None:
    """Shaded on the right, a highlight on the left."""
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    across = 0.96 * np.sin(angles) ** 3
    up = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    contour = np.stack([across, -up / 15.2 - 0.12], axis=1)
    pen.polygon(contour, pen.dark, outline=pen.outline)
    pen.polygon(contour * (0.90, 0.90) + (-0.05, -0.03), pen.colour)
    pen.at(-0.46, -0.46, angle=0.7).disc((0, 0), 0.13, (255, 255, 255, 200), tall=1.8)


def leaf(pen: Pen, pose: Pose) -> None:
    """Lying level with its stalk to the left, a rib and veins."""
    blade = [(-0.72, 0.10), (-0.40, -0.40), (0.20, -0.58), (0.98, -0.06), (0.24, 0.46), (-0.36, 0.44)]
    pen.stroke([(-1.06, 0.20), (-0.66, 0.06)], 0.13, pen.outline)
    pen.polygon(smooth(blade), pen.colour, outline=pen.outline)
    pen.polygon(smooth([(-0.66, 0.10), (0.10, 0.02), (0.92, -0.03), (0.24, 0.38), (-0.34, 0.38)]), pen.dark)
    pen.stroke([(-0.68, 0.08), (0.10, 0.0), (0.84, -0.05)], 0.07, pen.light)
    for x in (-0.34, 0.02, 0.36):
        pen.stroke([(x + 0.20, -0.32), (x, 0.02), (x + 0.18, 0.30)], 0.05, pen.light)


def bird(pen: Pen, pose: Pose) -> None:
    """Facing right; both wings go up and down with the beat."""
    lift = math.sin(pose.beat)
    far = [(-0.02, -0.12), (-0.10, -0.30 - 0.60 * lift), (0.10, -0.38 - 0.62 * lift), (0.34, -0.14)]
    pen.polygon(smooth(far), pen.dark, outline=pen.outline)
    pen.polygon(
        [(-0.52, -0.02), (-1.04, -0.26), (-0.94, 0.04), (-1.04, 0.26), (-0.46, 0.20)], pen.dark, outline=pen.outline
    )
    pen.polygon([(0.80, -0.22), (1.10, -0.08), (0.80, 0.02)], (250, 176, 50), outline=(150, 90, 20))
    body = [
        (-0.66, 0.06),
        (-0.10, -0.26),
        (0.36, -0.34),
        (0.66, -0.44),
        (0.90, -0.16),
        (0.68, 0.18),
        (0.10, 0.40),
        (-0.40, 0.30),
    ]
    pen.polygon(smooth(body), pen.colour, outline=pen.outline)
    pen.polygon(smooth([(-0.36, 0.20), (0.20, 0.10), (0.62, 0.08), (0.10, 0.34)]), pen.light)
    near = [(-0.34, -0.06), (-0.44, -0.10 - 0.74 * lift), (-0.12, -0.08 - 0.92 * lift), (0.30, -0.02)]
    pen.polygon(smooth(near), pen.dark, outline=pen.outline)
    pen.disc((0.64, -0.18), 0.10, (255, 255, 255))
    pen.disc((0.67, -0.18), 0.06, INK)


def bell(pen: Pen, pose: Pose) -> None:
    """Hanging from the origin by a ring; the clapper lags behind."""
    beam = pen.at(0, 0, angle=-pose.angle)
    beam.polygon([(-0.52, -0.17), (0.52, -0.17), (0.52, 0.03), (-0.52, 0.03)], WOOD, outline=(84, 54, 34))
    pen.stroke([(0, 0), (0, 0.40)], 0.12, BRASS)
    lag = 0.22 * math.cos(pose.beat)
    pen.disc((lag, 1.66), 0.16, BRASS, outline=(84, 62, 30))
    cup = [
        (-0.24, 0.36),
        (0.24, 0.36),
        (0.48, 0.72),
        (0.56, 1.26),
        (0.82, 1.58),
        (-0.82, 1.58),
        (-0.56, 1.26),
        (-0.48, 0.72),
    ]
    pen.polygon(smooth(cup, corners=6), pen.colour, outline=pen.outline)
    pen.polygon(smooth([(-0.20, 0.48), (-0.12, 0.74), (-0.24, 1.30), (-0.46, 1.36), (-0.38, 0.72)]), pen.light)
    pen.polygon([(-0.70, 1.40), (0.70, 1.40), (0.82, 1.55), (-0.82, 1.55)], pen.dark)


SHAPES: Mapping[str, Callable[[Pen, Pose], None]] = {
    "rocket": rocket,
    "ball": ball,
    "fish": fish,
    "wheel": wheel,
    "balloon": balloon,
    "boat": boat,
    "flower": flower,
    "star": star,
    "heart": heart,
    "leaf": leaf,
    "bird": bird,
    "bell": bell,
}
