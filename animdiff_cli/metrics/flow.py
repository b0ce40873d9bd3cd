"""Optical flow between neighbouring frames, and what it tells: warp error and dynamic degree.

Flow is dense inverse search (Kroeger et al. 2016) as OpenCV has it, in pixels per frame, float32 [H, W, 2] as (x, y).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.temporal import Frames, luma

Flow = NDArray[np.float32]

#: below this the pyramid of the search has no levels
MIN_SIDE = 16
#: share of a frame that counts as moving most; VBench's dynamic degree (2023)
FASTEST = 0.05


@dataclass(frozen=True, slots=True)
class FlowPair:
    """Two neighbouring frames, uint8 [H, W, 3], and where every pixel of each went in the other."""

    before: Frames
    after: Frames
    forward: Flow  # before → after
    backward: Flow

    def visible(self) -> NDArray[np.bool_]:
        """Mark the pixels of `before` that `after` shows too, [H, W]: inside the frame, and back where they were.

        Sundaram et al. 2010, as Ruder et al. 2016 and Lai et al. 2018 use it: forward and backward flow must cancel,
        and pixels on the edge of a motion are left out.
        """
        returned = _sample(self.backward, self.forward)
        gap = _squares(self.forward + returned)
        size = _squares(self.forward)
        slopes: list[Flow] = list(np.gradient(self.forward, axis=(0, 1)))
        edge = _squares(slopes[0]) + _squares(slopes[1])
        closes = gap <= 0.01 * (size + _squares(returned)) + 0.5
        seen: NDArray[np.bool_] = closes & (edge <= 0.01 * size + 0.002) & _inside(self.forward)
        return seen


def flow_pairs(frames: Frames) -> Iterator[FlowPair]:
    """Yield the flow of each pair of neighbours in `frames`, uint8 [F, H, W, 3]; nothing below two frames.

    Raises `UsageError` where OpenCV is missing or the frames are smaller than 16 pixels.
    """
    cv2 = load_opencv()
    if min(frames.shape[1:3]) < MIN_SIDE:
        height, width = frames.shape[1:3]
        raise UsageError(
            f"motion cannot be measured in frames of {width}x{height} pixels", hint=f"{MIN_SIDE} pixels are the least"
        )
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)  # to the pixel: the preset stops at half the size
    grey = [np.clip(np.rint(luma(frame)), 0, 255).astype(np.uint8) for frame in frames]
    for index, (before, after) in enumerate(pairwise(grey)):
        yield FlowPair(
            frames[index],
            frames[index + 1],
            # a copy, because the search keeps what it returns as its next guess
            search.calc(before, after, None).copy(),
            search.calc(after, before, None).copy(),
        )


def warp_error(pair: FlowPair) -> float | None:
    """Squared difference between a frame and the next one carried back along the flow; None where nothing is visible.

    Mean over visible pixels and colours, values 0 to 1 (Lai et al. 2018).
    """
    visible = pair.visible()
    if not visible.any():
        return None
    carried = _sample(pair.after.astype(np.float32), pair.forward)
    return float((np.square(carried - pair.before)[visible] / 255**2).mean(dtype=np.float64))


def dynamic_degree(pair: FlowPair) -> float:
    """Mean length of the flow over the fastest twentieth of a frame, as a share of its shorter side (VBench 2023)."""
    lengths = np.sort(np.sqrt(_squares(pair.forward)), axis=None)
    fastest = lengths[-max(1, int(FASTEST * lengths.size)) :]
    return float(fastest.mean(dtype=np.float64) / min(pair.forward.shape[:2]))


def load_opencv() -> Any:
    """Import OpenCV, which only measuring needs. Raises `UsageError` where it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise UsageError("motion is measured with OpenCV, which is missing", hint=EXTRA_HINT) from error
    return cv2


EXTRA_HINT = "pip install 'animdiff[eval]'"


def _sample(values: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Read `values` [H, W, C] where the flow leads, between pixels linearly, beyond the edge as at the edge."""
    cv2 = load_opencv()
    x, y = _targets(flow)
    sampled: NDArray[np.float32] = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled


def _inside(flow: Flow) -> NDArray[np.bool_]:
    height, width = flow.shape[:2]
    x, y = _targets(flow)
    # the frame ends half a pixel beyond the middle of its last one
    within: NDArray[np.bool_] = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return within


def _targets(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _squares(vectors: Flow) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.square(vectors).sum(axis=-1)
    return squares
