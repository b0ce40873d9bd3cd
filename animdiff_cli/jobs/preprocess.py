"""Make control pictures of frames: edges, lines, blur, optical flow by OpenCV, others by networks."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.core.choices import Preprocessor
from animdiff_cli.errors import UsageError
from animdiff_cli.outputs.ffmpeg import Frames

#: thresholds of the published ControlNets for Canny edges
CANNY = (100, 200)
#: pixels; widths of the Gaussians whose difference is a scribble, and the least difference
SCRIBBLE_BLUR, SCRIBBLE_LEVEL = (0.5, 5.0), 16
LINEART_BLUR = 6.0
#: width of the blur, and length of the fastest flow, as shares of the shorter side
BLUR, FASTEST = 1 / 64, 1 / 20

#: (word in the name of a network, what it was trained with); the first match counts. None: nothing here makes it
TRAINED_WITH: tuple[tuple[str, Preprocessor | None], ...] = (
    ("canny", "canny"),
    ("lineart", "lineart"),
    ("scribble", "scribble"),
    ("gr[ae]y|luminance|brightness", "luminance"),
    ("blur", "blur"),
    ("tile|inpaint|shuffle|ip2p|qr|rgb", "none"),
    ("depth", "depth"),
    ("(?:dense|animal|hand)_?pose", None),
    ("(?:open|dw)_?pose|(?<![a-z])poses?(?![a-z])", "openpose"),
    ("soft_?edge|(?<![a-z])hed(?![a-z])|pidi", "softedge"),
    ("(?<![a-z])normal(?:bae|map|s)?(?![a-z])", "normal"),
    ("mlsd", "mlsd"),
    ("seg|face", None),
)
#: control pictures of lines are dark and colourless: at least this share of the pixels is below the level
DARK_SHARE, DARK_LEVEL, COLOURLESS = 0.7, 48, 24
#: how much the length of a normal may differ from 1
UNIT = 0.15


def expected_by(name: str) -> Preprocessor | None:
    """Return what a network with this name was trained with: `auto` if the name does not tell.

    None if no preprocessor makes its pictures.

    >>> expected_by("control_v11p_sd15_canny"), expected_by("control_v11p_sd15_seg"), expected_by("mine")
    ('canny', None, 'auto')
    """
    return next((found for word, found in TRAINED_WITH if re.search(word, name.lower())), "auto")


def looks_like_map(picture: Frames, expected: Preprocessor | None) -> bool:
    """Return whether a picture uint8 [H, W, 3] looks like what a network expects, as `expected_by` tells.

    Lines are white on black. Poses are on black, depth is grey, and the colours of normals are vectors of length 1. A
    photograph at night may look like one: `preprocess` says what it is.
    """
    channels = picture.astype(np.int16)
    is_grey = np.percentile(channels.max(-1) - channels.min(-1), 99) <= COLOURLESS
    is_dark = (channels.max(-1) < DARK_LEVEL).mean() >= DARK_SHARE
    length = np.linalg.norm(channels / 127.5 - 1, axis=-1)
    looks: Mapping[Preprocessor | None, bool] = {
        **dict.fromkeys(("canny", "lineart", "scribble", "softedge", "mlsd"), bool(is_grey and is_dark)),
        **dict.fromkeys(("luminance", "depth"), bool(is_grey)),
        "openpose": bool(is_dark),
        "normal": bool((np.abs(length - 1) < UNIT).mean() >= DARK_SHARE),
        None: bool(is_grey or is_dark),
    }
    return looks.get(expected, False)


def preprocessor(name: Preprocessor, detect: Callable[[Frames], Frames] | None = None) -> Callable[[Frames], Frames]:
    """Return a function of frames uint8 [F, H, W, 3], called with one chunk of a clip after the other.

    `detect` runs the network of a preprocessor that has one on a frame. Raises `UsageError` if OpenCV is missing.
    """
    if detect:
        return lambda frames: np.stack([detect(frame) for frame in frames])
    if name in ("auto", "none"):
        return lambda frames: frames
    if name == "invert":
        return lambda frames: 255 - frames
    cv2 = _opencv(name)
    if name == "flow":
        return _Flow(cv2)
    one = FILTERS[name]
    return lambda frames: np.stack([one(cv2, np.ascontiguousarray(frame)) for frame in frames])


def _canny(cv2: Any, frame: Frames) -> Frames:
    return _in_rgb(cv2.Canny(frame, *CANNY))


def _lineart(cv2: Any, frame: Frames) -> Frames:
    """Draw what is darker than its surroundings in white, lines of usual contrast at half brightness."""
    pixels = frame.astype(np.float32)
    darker = np.min(cv2.GaussianBlur(pixels, (0, 0), LINEART_BLUR) - pixels, axis=2).clip(0, 255)
    usual = np.median(darker[darker > 8]) if (darker > 8).any() else 16.0
    return _in_rgb((darker / max(16.0, float(usual)) * 127).clip(0, 255).astype(np.uint8))


def _scribble(cv2: Any, frame: Frames) -> Frames:
    """Draw edges of either sign in white, thick and without shades."""
    pixels = frame.astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(pixels, (0, 0), width) for width in SCRIBBLE_BLUR)
    return _in_rgb(np.where(np.abs(coarse - fine).max(axis=2) > SCRIBBLE_LEVEL, 255, 0).astype(np.uint8))


def _blur(cv2: Any, frame: Frames) -> Frames:
    return cast("Frames", cv2.GaussianBlur(frame, (0, 0), max(min(frame.shape[:2]) * BLUR, 1.0)))


def _luminance(cv2: Any, frame: Frames) -> Frames:
    return _in_rgb(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


#: name → filter of one frame
FILTERS: Mapping[str, Callable[[Any, Frames], Frames]] = {
    "canny": _canny,
    "lineart": _lineart,
    "scribble": _scribble,
    "blur": _blur,
    "luminance": _luminance,
}


class _Flow:
    """The optical flow from the frame before: direction as hue, speed as brightness. The first frame is black."""

    def __init__(self, cv2: Any) -> None:
        self._cv2 = cv2
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: NDArray[np.uint8] | None = None

    def __call__(self, frames: Frames) -> Frames:
        return np.stack([self._one(np.ascontiguousarray(frame)) for frame in frames])

    def _one(self, frame: Frames) -> Frames:
        cv2 = self._cv2
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, grey
        if before is None:
            return np.zeros_like(frame)
        flow = self._search.calc(before, grey, None)
        speed, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)
        value = (speed / (FASTEST * min(grey.shape)) * 255).clip(0, 255)
        hue = angle / 2  # OpenCV counts hue in half degrees
        hsv = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
        return cast("Frames", cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _in_rgb(grey: NDArray[np.uint8]) -> Frames:
    return np.repeat(grey[..., None], 3, axis=-1)


def _opencv(name: str) -> Any:
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            f"OpenCV is not installed, which the preprocessor `{name}` needs", hint="pip install 'animdiff[control]'"
        ) from error
    return cv2
