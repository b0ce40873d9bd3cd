"""A watermark like that of stock footage, in the lower right corner, and a filter that measures its visibility."""

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

CENTRE = (0.83, 0.83)
RADIUS = 0.125
OPACITY = 0.6
WINDOW = 1.2
"""Half the side of the square in which the filter looks, as a multiple of the mark's radius."""

DRAWN_LARGER = 8


def mark(frames: np.ndarray) -> np.ndarray:
    """Return `frames` (uint8 [F, H, W, 3], H = W) with the watermark on every frame."""
    tone, cover = _mark(frames.shape[1])
    opacity = OPACITY * cover[..., None]
    return (frames * (1 - opacity) + tone[..., None] * opacity).round().astype(np.uint8)


def visibility(frames: np.ndarray) -> float:
    """Return the visibility of the watermark in uint8 [F, H, W, 3]: 1 as `mark` draws it, 0 without it.

    A matched filter on the luma of the median frame, which reduces the effect of moving objects. The filter is
    orthogonal to gradients and to a plain disc, which reduces the effect of the background.
    """
    template = _template(frames.shape[1])
    luma = np.median(frames.astype(np.float32), axis=0) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return float((luma * template).sum())


@cache
def _mark(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the watermark for frames of `side` pixels: tone, 0 to 255, and opacity, 0 to 1, both [side, side]."""
    large = side * DRAWN_LARGER
    tone, cover = Image.new("L", (large, large)), Image.new("L", (large, large))
    middle, radius = np.array(CENTRE) * large, RADIUS * large
    _disc(ImageDraw.Draw(cover), middle, radius, 255)
    pen = ImageDraw.Draw(tone)
    corners = [middle + 0.80 * radius * np.array([math.cos(a), math.sin(a)]) for a in (0, math.tau / 3, -math.tau / 3)]
    pen.polygon([tuple(corner) for corner in corners], fill=255)
    return (
        np.asarray(tone.reduce(DRAWN_LARGER), dtype=np.float32),
        np.asarray(cover.reduce(DRAWN_LARGER), dtype=np.float32) / 255,
    )


@cache
def _template(side: int) -> np.ndarray:
    """Return weights [side, side] whose sum over a luma frame is 1 for the mark and 0 for disc and gradients."""
    tone, cover = _mark(side)
    rows, columns = (np.mgrid[0:side, 0:side] + 0.5) / side
    dx, dy = (columns - CENTRE[0]) / RADIUS, (rows - CENTRE[1]) / RADIUS
    window = (np.abs(dx) <= WINDOW) & (np.abs(dy) <= WINDOW)
    signal = (OPACITY * cover * tone)[window]
    slopes = [np.ones_like(dx), dx, dy, dx * dx, dx * dy, dy * dy]
    blind = np.stack([slope[window] for slope in slopes] + [(cover * s)[window] for s in slopes[:3]], axis=1)
    within = signal - blind @ np.linalg.lstsq(blind, signal, rcond=None)[0]
    template = np.zeros((side, side), dtype=np.float32)
    template[window] = within / (within @ signal)
    return template


def _disc(pen: ImageDraw.ImageDraw, middle: np.ndarray, radius: float, fill: int) -> None:
    (x, y) = middle
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
