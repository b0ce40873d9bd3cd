"""The six places behind the objects: soft gradients and a few details, pale or dark so that any object stands out."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from tools.pocket.colour import RGB

Painter = Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]


def paint_place(place: str, seed: int, side: int) -> Image.Image:
    """Paint the place as an RGB image of `side` pixels each way; `seed` draws its details."""
    stops, painter = PLACE_PAINTERS[place]
    image = gradient(stops, side)
    painter(ImageDraw.Draw(image, "RGBA"), np.random.default_rng(seed), side)
    return image


def gradient(stops: tuple[tuple[float, RGB], ...], side: int) -> Image.Image:
    """Blend colours downwards between `stops` (height from 0 at the top to 1, colour)."""
    heights = np.linspace(0, 1, side)
    at = [height for height, _ in stops]
    channels = [np.interp(heights, at, [colour[channel] for _, colour in stops]) for channel in range(3)]
    column = np.stack(channels, axis=1).round().astype(np.uint8)[:, None]
    return Image.fromarray(np.repeat(column, side, axis=1))


def night_sky(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Stars, a moon and dark hills."""
    for x, y, radius in rng.uniform((0, 0, 0.003), (1, 0.74, 0.008), (26, 3)):
        _disc(draw, side, x, y, radius, (226, 230, 250, 200))
    moon = rng.uniform(0.12, 0.22) if rng.random() < 0.5 else rng.uniform(0.78, 0.88)
    _disc(draw, side, moon, 0.15, 0.105, (240, 240, 220, 26))
    _disc(draw, side, moon, 0.15, 0.075, (236, 234, 214, 255))
    _disc(draw, side, moon + 0.02, 0.135, 0.016, (214, 210, 190, 255))
    _disc(draw, side, moon - 0.03, 0.17, 0.011, (214, 210, 190, 255))
    _hills(draw, rng, side, 0.82, 0.035, (30, 34, 62))
    _hills(draw, rng, side, 0.90, 0.025, (20, 23, 44))


def beach(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Pale sky, a strip of sea with crests, sand with pebbles."""
    _sun(draw, rng, side, (255, 250, 226))
    _clouds(draw, rng, side, (244, 248, 250, 255), 2)
    _band(draw, side, 0.54, 0.72, (150, 190, 202))
    _band(draw, side, 0.54, 0.57, (134, 176, 192))
    for x, y in rng.uniform((0.02, 0.59), (0.9, 0.68), (9, 2)):
        _bar(draw, side, x, y, rng.uniform(0.05, 0.10), 0.008, (214, 232, 236, 255))
    _hills(draw, rng, side, 0.725, 0.008, (244, 246, 240))
    _hills(draw, rng, side, 0.745, 0.008, (234, 216, 178))
    for x, y in rng.uniform((0, 0.80), (1, 0.98), (14, 2)):
        _disc(draw, side, x, y, 0.007, (206, 184, 144, 255))


def under_the_sea(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Shafts of light, weeds, bubbles and a floor of sand."""
    for x in rng.uniform(-0.1, 0.8, 3):
        shaft = [(x, 0), (x + 0.13, 0), (x + 0.42, 0.86), (x + 0.16, 0.86)]
        draw.polygon([(a * side, b * side) for a, b in shaft], fill=(220, 240, 246, 26))
    for x in (*rng.uniform(0.03, 0.24, 2), *rng.uniform(0.76, 0.97, 2)):
        _weed(draw, side, x, rng.uniform(0.16, 0.34), rng.uniform(0, math.tau))
    _hills(draw, rng, side, 0.85, 0.02, (176, 172, 150))
    _hills(draw, rng, side, 0.92, 0.015, (160, 154, 132))
    for x, y, radius in rng.uniform((0.04, 0.06, 0.008), (0.96, 0.7, 0.016), (8, 3)):
        _disc(draw, side, x, y, radius, (214, 234, 240, 110))
        _disc(draw, side, x - radius / 3, y - radius / 3, radius / 3, (250, 255, 255, 200))


def green_meadow(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Clouds, rolling pale green hills, a few blades and daisies."""
    _sun(draw, rng, side, (255, 252, 232))
    _clouds(draw, rng, side, (248, 250, 252, 255), 3)
    _hills(draw, rng, side, 0.64, 0.05, (186, 212, 176))
    _hills(draw, rng, side, 0.74, 0.03, (170, 204, 152))
    for x, y in rng.uniform((0, 0.80), (1, 0.99), (30, 2)):
        _blade(draw, side, x, y, (140, 180, 122, 255))
    for x, y in rng.uniform((0.02, 0.80), (0.98, 0.97), (7, 2)):
        _disc(draw, side, x, y, 0.013, (255, 255, 252, 255))
        _disc(draw, side, x, y, 0.005, (240, 214, 120, 255))


def snow(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """White drifts, bare firs and flakes in a pale grey sky."""
    _hills(draw, rng, side, 0.66, 0.04, (226, 233, 242))
    for x in (*rng.uniform(0.02, 0.26, 2), *rng.uniform(0.74, 0.98, 2)):
        _fir(draw, side, x, rng.uniform(0.70, 0.76), rng.uniform(0.16, 0.26))
    _hills(draw, rng, side, 0.78, 0.02, (243, 247, 252))
    for x, y, radius in rng.uniform((0, 0, 0.006), (1, 0.8, 0.012), (34, 3)):
        _disc(draw, side, x, y, radius, (255, 255, 255, 235))


def city_at_dusk(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Two rows of towers with lit windows before a fading sky, and a street."""
    _towers(draw, rng, side, 0.34, (134, 112, 138), None)
    _towers(draw, rng, side, 0.52, (84, 74, 104), (240, 212, 160, 230))
    _band(draw, side, 0.82, 1.0, (62, 58, 78))
    _band(draw, side, 0.82, 0.835, (112, 104, 122))
    for x in np.arange(rng.uniform(-0.2, 0), 1, 0.26):
        _bar(draw, side, x, 0.925, 0.13, 0.014, (176, 168, 170, 255))


PLACE_PAINTERS: Mapping[str, tuple[tuple[tuple[float, RGB], ...], Painter]] = {
    "in the night sky": (((0, (13, 16, 40)), (0.55, (30, 36, 74)), (0.85, (56, 58, 100))), night_sky),
    "on the beach": (
        ((0, (176, 206, 222)), (0.54, (226, 236, 236)), (0.75, (236, 220, 184)), (1, (222, 200, 158))),
        beach,
    ),
    "under the sea": (((0, (140, 186, 200)), (0.5, (94, 138, 162)), (1, (62, 98, 126))), under_the_sea),
    "in a green meadow": (((0, (186, 212, 230)), (0.6, (232, 240, 238)), (1, (170, 204, 152))), green_meadow),
    "in the snow": (((0, (170, 182, 200)), (0.7, (214, 222, 232)), (1, (240, 244, 250))), snow),
    "in the city at dusk": (((0, (112, 98, 136)), (0.45, (186, 146, 156)), (0.8, (232, 196, 176))), city_at_dusk),
}


def _disc(
    draw: ImageDraw.ImageDraw, side: int, x: float, y: float, radius: float, fill: tuple[int, int, int, int]
) -> None:
    draw.ellipse([side * (x - radius), side * (y - radius), side * (x + radius), side * (y + radius)], fill=fill)


def _band(draw: ImageDraw.ImageDraw, side: int, top: float, bottom: float, fill: RGB) -> None:
    draw.rectangle([0, side * top, side, side * bottom], fill=fill)


def _bar(
    draw: ImageDraw.ImageDraw,
    side: int,
    x: float,
    y: float,
    width: float,
    height: float,
    fill: tuple[int, int, int, int],
) -> None:
    box = [side * x, side * y, side * (x + width), side * (y + height)]
    draw.rounded_rectangle(box, radius=side * height / 2, fill=fill)


def _hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, top: float, swell: float, fill: RGB) -> None:
    xs = np.linspace(0, 1, 40)
    first, second = rng.uniform(0, math.tau, 2)
    ys = top + swell * (0.7 * np.sin(math.tau * 0.8 * xs + first) + 0.3 * np.sin(math.tau * 1.9 * xs + second))
    ridge = np.stack([xs, ys], axis=1) * side
    draw.polygon([0, side, *ridge.ravel().tolist(), side, side], fill=fill)


def _sun(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, colour: RGB) -> None:
    x = rng.uniform(0.10, 0.26) if rng.random() < 0.5 else rng.uniform(0.74, 0.90)
    for radius, opacity in ((0.15, 60), (0.115, 90), (0.08, 255)):
        _disc(draw, side, x, 0.15, radius, (*colour, opacity))


def _clouds(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, fill: tuple[int, int, int, int], count: int
) -> None:
    for x, y in rng.uniform((0.02, 0.10), (0.85, 0.40), (count, 2)):
        width = rng.uniform(0.14, 0.24)
        _bar(draw, side, x, y, width, 0.05, fill)
        _bar(draw, side, x + width * 0.25, y - 0.028, width * 0.5, 0.05, fill)


def _weed(draw: ImageDraw.ImageDraw, side: int, x: float, height: float, phase: float) -> None:
    up = np.linspace(0, 1, 14)
    stem = np.stack([x + 0.02 * np.sin(5 * up + phase), 0.9 - height * up], axis=1) * side
    draw.line(stem.ravel().tolist(), fill=(72, 118, 118), width=round(0.022 * side), joint="curve")


def _blade(draw: ImageDraw.ImageDraw, side: int, x: float, y: float, fill: tuple[int, int, int, int]) -> None:
    tuft = [(x - 0.012, y), (x - 0.016, y - 0.03), (x, y - 0.008), (x + 0.004, y - 0.04), (x + 0.012, y)]
    draw.polygon([(a * side, b * side) for a, b in tuft], fill=fill)


def _fir(draw: ImageDraw.ImageDraw, side: int, x: float, foot: float, height: float) -> None:
    draw.rectangle([side * (x - 0.01), side * (foot - 0.03), side * (x + 0.01), side * foot], fill=(128, 118, 118))
    for tier, width in ((0.12, 0.42), (0.40, 0.34), (0.68, 0.24)):
        low, tip = foot - height * tier, foot - height * min(1.0, tier + 0.46)
        crown = [(x - height * width, low), (x, tip), (x + height * width, low)]
        draw.polygon([(a * side, b * side) for a, b in crown], fill=(146, 164, 172))
        cap = [(x - height * width * 0.45, (low + tip) / 2), (x, tip), (x + height * width * 0.45, (low + tip) / 2)]
        draw.polygon([(a * side, b * side) for a, b in cap], fill=(236, 241, 247))


def _towers(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    side: int,
    height: float,
    wall: RGB,
    window: tuple[int, int, int, int] | None,
) -> None:
    left = -0.05
    while left < 1:
        width, top = rng.uniform(0.12, 0.2), height + rng.uniform(-0.08, 0.12)
        draw.rectangle([side * left, side * top, side * (left + width), side * 0.83], fill=wall)
        if window is not None:
            _windows(draw, rng, side, (left, top, width), window)
        left += width + rng.uniform(0.0, 0.03)


def _windows(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    side: int,
    tower: tuple[float, float, float],
    fill: tuple[int, int, int, int],
) -> None:
    left, top, width = tower
    for x in np.arange(left + 0.025, left + width - 0.03, 0.042):
        for y in np.arange(top + 0.03, 0.76, 0.06):
            if rng.random() < 0.45:
                draw.rectangle([side * x, side * y, side * (x + 0.018), side * (y + 0.026)], fill=fill)
