"""Track the object of a clip by its colour: position, size and orientation in each frame."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageFilter

from tools.pocket.colour import RGB
from tools.pocket.styles import STYLES

FAINT, SURE = 0.38, 0.58
"""Chroma along the object's own, as a share of it, from which a pixel begins to count and counts in full."""

HUE_TOLERANCE = math.radians(22)
"""Half the smallest angle between two colours of the palette is 12°, but a scene holds only one of them."""

REACH = 0.36
"""Nothing of an object is farther from its centre than this share of the frame."""

ANGLES = 144
"""Directions in which the pattern of a turning object is sampled."""


@dataclass(frozen=True, slots=True)
class Track:
    """Signals of a clip, one value per frame: arrays [F], lengths as fractions of the frame.

    `visible` is whether the object was found, `x` and `y` its centre, `scale` the square root of its area. `radius` its
    root mean square radius. `tilt` is the direction of its long axis in radians, unwrapped. `lopsided` is its skewness
    along x (positive: it thins out to the right), `heavy` that along y. `turn` is the clockwise rotation of its
    pattern in radians since the previous frame.
    """

    visible: np.ndarray
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    radius: np.ndarray
    tilt: np.ndarray
    lopsided: np.ndarray
    heavy: np.ndarray
    turn: np.ndarray


def track(frames: np.ndarray, colour: str, style: str = "base", *, rings: tuple[float, ...] = (1.0,)) -> Track:
    """Track the object of `colour`, as `style` draws it, through `frames` (uint8 [F, H, W, 3]).

    `rings` are the radii, as multiples of the radius of the object, at which its pattern is sampled.
    """
    look = STYLES[style]
    share = np.stack([chroma_share(frame, look.palette[colour]) for frame in _without_grain(frames, look.grain)])
    weights = np.stack([_near_the_middle(weight) for weight in np.clip((share - FAINT) / (SURE - FAINT), 0, 1)])
    whole = np.stack([_moments(weight) for weight in weights])
    area, x, y = whole[:, :3].T
    radius = np.sqrt(whole[:, 3] + whole[:, 4])
    long_axis = _long_axis(whole)
    patterns = [_pattern(w, cx, cy, r, rings) for w, cx, cy, r in zip(weights, x, y, radius, strict=True)]
    turns = [0.0, *(_turned(before, after) for before, after in pairwise(patterns))]
    return Track(
        visible=area > 0.004,
        x=x,
        y=y,
        scale=np.sqrt(area),
        radius=radius,
        tilt=np.unwrap(long_axis, period=math.pi),
        lopsided=whole[:, 6],
        heavy=whole[:, 7],
        turn=np.array(turns),
    )


def chroma_share(image: np.ndarray, colour: RGB) -> np.ndarray:
    """Return the fraction of the colour's chroma in each pixel: [H, W], 1 for the colour, 0 for other hues and grey."""
    chroma, wanted = _chroma(image), _chroma(np.array(colour))
    strength = math.hypot(*wanted)
    along = chroma @ wanted / strength
    across = np.abs(chroma[..., 0] * wanted[1] - chroma[..., 1] * wanted[0]) / strength
    return np.where(across <= along * math.tan(HUE_TOLERANCE), along / strength, 0.0)


def _without_grain(frames: np.ndarray, grain: int) -> np.ndarray:
    """Blur the grain of a style: its fixed grid would hide rotation."""
    if grain == 1:
        return frames
    return np.stack(
        [np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(grain / 2))) for frame in frames]
    )


def _chroma(image: np.ndarray) -> np.ndarray:
    """Return the blue and red difference of BT.601: [..., 2]."""
    pixels = image.astype(np.float32)
    luma = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.stack([0.564 * (pixels[..., 2] - luma), 0.713 * (pixels[..., 0] - luma)], axis=-1)


def _near_the_middle(weight: np.ndarray) -> np.ndarray:
    """Drop pixels that are too far from the object; twice, because they bias the first centre."""
    height, width = weight.shape
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(2):
        across, down = weight.sum(axis=0), weight.sum(axis=1)
        distance = np.hypot(columns - _median(across), rows - _median(down))
        weight = weight * (distance <= REACH * width)
    return weight


def _median(histogram: np.ndarray) -> float:
    return float(np.searchsorted(np.cumsum(histogram), histogram.sum() / 2))


def _moments(weight: np.ndarray) -> np.ndarray:
    """Return area, centre, central second moments xx, yy, xy and skewness along x and y of a mask [H, W]: [8]."""
    height, width = weight.shape
    mass = max(float(weight.sum()), 1e-6)
    columns, rows = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    across, down = weight.sum(axis=0) / mass, weight.sum(axis=1) / mass
    x, y = float(columns @ across), float(rows @ down)
    dx, dy = columns - x, rows - y
    xx, yy = float(dx**2 @ across), float(dy**2 @ down)
    xy = float(dy @ weight @ dx) / mass
    skew_x = float(dx**3 @ across) / max(xx, 1e-6) ** 1.5
    skew_y = float(dy**3 @ down) / max(yy, 1e-6) ** 1.5
    return np.array([mass / (width * height), x, y, xx, yy, xy, skew_x, skew_y])


def _long_axis(moments: np.ndarray) -> np.ndarray:
    """Return the direction of the long axis in radians from moments [F, 8]."""
    xx, yy, xy = moments[:, 3], moments[:, 4], moments[:, 5]
    return 0.5 * np.arctan2(2 * xy, xx - yy)


def _pattern(weight: np.ndarray, x: float, y: float, radius: float, rings: tuple[float, ...]) -> np.ndarray:
    """Sample the mask on rings around its centre: [rings, ANGLES], each ring with mean 0."""
    side = weight.shape[0]
    angles = np.arange(ANGLES) * 2 * math.pi / ANGLES
    reach = np.array(rings)[:, None] * radius
    values = _bilinear(weight, (x + reach * np.cos(angles)) * side - 0.5, (y + reach * np.sin(angles)) * side - 0.5)
    return values - values.mean(axis=1, keepdims=True)


def _bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height, width = image.shape
    left, top = np.clip(np.floor(x), 0, width - 2).astype(int), np.clip(np.floor(y), 0, height - 2).astype(int)
    right_share, low_share = np.clip(x - left, 0, 1), np.clip(y - top, 0, 1)
    upper = image[top, left] * (1 - right_share) + image[top, left + 1] * right_share
    lower = image[top + 1, left] * (1 - right_share) + image[top + 1, left + 1] * right_share
    return upper * (1 - low_share) + lower * low_share


def _turned(before: np.ndarray, after: np.ndarray) -> float:
    """Return the clockwise rotation, at most 32° either way, that best aligns two patterns."""
    most = round(32 / 360 * ANGLES)
    shifts = range(-most, most + 1)
    fits = np.array([float((np.roll(before, shift, axis=1) * after).sum()) for shift in shifts])
    best = int(np.clip(fits.argmax(), 1, len(fits) - 2))
    left, middle, right = fits[best - 1 : best + 2]
    bend = left - 2 * middle + right
    peak = best + (0.5 * (left - right) / bend if bend < 0 else 0.0)
    return (peak - most) * 2 * math.pi / ANGLES
