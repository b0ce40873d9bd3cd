"""Image effects of the drawing styles, applied to the place before the object is drawn, or to the finished frame.

Each takes an RGB image and returns a new one of the same size. Patterns are fixed to the frame, not to the object, and
are the same in every clip.
"""

import math
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from tools.pocket.colour import RGB

PAPER: RGB = (252, 246, 232)
DARKNESS: RGB = (16, 10, 34)
TUBE: RGB = (104, 112, 150)
"""The colour of a neon place's lines: nearly grey, so that no object's colour is taken for it."""

PIXEL = 4
"""Side of one pixel of the pixel style, in pixels of the frame."""

SHADES = (42.5, 10.0, 10.0)
"""Steps between the brightnesses, and the blue and red differences, that the pixel style keeps."""

STROKE_SEED = 7


def unchanged(image: Image.Image) -> Image.Image:
    """Return the image unchanged."""
    return image


def pale_on_paper(image: Image.Image) -> Image.Image:
    """Blend with the colour of paper by half."""
    return _to_image(_pixels(image) * 0.55 + 0.45 * np.array(PAPER))


def waxed(image: Image.Image) -> Image.Image:
    """Wobble every line and leave streaks of paper between diagonal strokes of wax."""
    strokes, across, down = _strokes(image.width)
    wavering = _pixels(image)[down, across]
    return _to_image(wavering + (np.array(PAPER) - wavering) * strokes[..., None])


def unlit(image: Image.Image) -> Image.Image:
    """Darken the place except for its contours, which glow faintly."""
    dim = np.array(DARKNESS) + 0.10 * _luma(image)[..., None]
    return _to_image(dim + _contours(image)[..., None] * np.array(TUBE))


def glowing(image: Image.Image) -> Image.Image:
    """Add a glow around bright pixels."""
    pixels = _pixels(image)
    bright = _to_image(np.clip(pixels - 40, 0, None) * 0.9)
    halo = _pixels(bright.filter(ImageFilter.GaussianBlur(5)))
    return _to_image(255 - (255 - pixels) * (1 - halo / 255))


def hatched(image: Image.Image) -> Image.Image:
    """Draw the place in black ink: contours, and hatching in dark areas, cross-hatching in the darkest."""
    luma = _luma(image)
    rows, columns = np.mgrid[0 : luma.shape[0], 0 : luma.shape[1]]
    one_way, other_way = ((columns + way * rows) % 15 < 5 for way in (1, -1))
    ink = np.maximum(_contours(image), 0.75 * (one_way & (luma < 165)))
    ink = np.maximum(ink, 0.75 * (other_way & (luma < 100)))
    return _to_image(np.array(PAPER) * (1 - 0.82 * ink[..., None]))


def in_blocks(image: Image.Image) -> Image.Image:
    """Pixelate, with few shades of each colour."""
    coarse = np.asarray(image.reduce(PIXEL).convert("YCbCr"), dtype=np.float32) - (0, 128, 128)
    kept = np.round(coarse / SHADES) * SHADES + (0, 128, 128)
    few = Image.fromarray(np.clip(kept, 0, 255).astype(np.uint8), "YCbCr").convert("RGB")
    return few.resize(image.size, Image.Resampling.NEAREST)


@cache
def _strokes(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fraction of paper visible between strokes, 0 to 1, and the source column and row of each pixel."""
    rng = np.random.default_rng(STROKE_SEED)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    along, over = (columns - rows) / math.sqrt(2), (columns + rows) / math.sqrt(2)
    waves = np.zeros((side, side), dtype=np.float32)
    for _ in range(12):
        period, slant, phase = rng.uniform(9, 16), rng.uniform(-0.12, 0.12), rng.uniform(0, math.tau)
        waves += np.sin(math.tau * (over + slant * along) / period + phase)
    paper = 0.55 * np.clip((waves - waves.mean()) / waves.std() - 0.4, 0, 1)
    swing = 1.3 * np.sin(math.tau * rows / 31 + 1) + 0.6 * np.sin(math.tau * (columns + rows) / 17)
    heave = 1.3 * np.sin(math.tau * columns / 27) + 0.6 * np.sin(math.tau * (columns - rows) / 19)
    across, down = (np.clip(np.round(at), 0, side - 1).astype(int) for at in (columns + swing, rows + heave))
    return paper, across, down


def _contours(image: Image.Image) -> np.ndarray:
    """Return edges: change of brightness within a few pixels, [H, W], 0 to 1."""
    luma = Image.fromarray(_luma(image).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    spread = _pixels(luma.filter(ImageFilter.MaxFilter(5))) - _pixels(luma.filter(ImageFilter.MinFilter(5)))
    return np.clip((spread - 8) / 24, 0, 1)


def _luma(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float32)


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32)


def _to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
