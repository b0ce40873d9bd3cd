"""Optical flow between consecutive frames, and metrics from it: warp error and dynamic degree.

Flow is OpenCV's dense inverse search (Kroeger et al. 2016), in pixels per frame, float32 [H, W, 2] as (x, y).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.temporal import luma
from animdiff_cli.outputs.ffmpeg import Frames

Flow = NDArray[np.float32]

#: px; the image pyramid has no levels for smaller frames
MIN_SIDE = 16
#: fraction of the pixels that dynamic degree averages over (VBench 2023)
FASTEST = 0.05


@dataclass(frozen=True, slots=True)
class FlowPair:
    """Two consecutive frames, uint8 [H, W, 3], with forward and backward optical flow."""

    before: Frames
    after: Frames
    forward: Flow  # before → after
    backward: Flow

    def visible(self) -> NDArray[np.bool_]:
        """Return a mask [H, W] of the pixels of `before` that are not occluded in `after` and stay inside the frame.

        Forward-backward consistency check without motion boundaries (Sundaram et al. 2010, as in Ruder et al. 2016 and
        Lai et al. 2018).
        """
        returned = _sample(self.backward, self.forward)
        gap = _squares(self.forward + returned)
        size = _squares(self.forward)
        slopes: list[Flow] = list(np.gradient(self.forward, axis=(0, 1)))
        edge = _squares(slopes[0]) + _squares(slopes[1])
        consistent = gap <= 0.01 * (size + _squares(returned)) + 0.5
        seen: NDArray[np.bool_] = consistent & (edge <= 0.01 * size + 0.002) & _inside(self.forward)
        return seen


def flow_pairs(frames: Frames) -> Iterator[FlowPair]:
    """Yield the flow of each pair of consecutive frames, uint8 [F, H, W, 3]; nothing for one frame.

    Raises `UsageError` if OpenCV is missing or a side is below 16 pixels.
    """
    cv2 = load_opencv()
    if min(frames.shape[1:3]) < MIN_SIDE:
        height, width = frames.shape[1:3]
        raise UsageError(
            f"cannot measure motion in frames of {width}x{height} pixels",
            hint=f"use at least {MIN_SIDE} pixels per side",
        )
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)  # full resolution: the preset stops at half
    grey = [np.clip(np.rint(luma(frame)), 0, 255).astype(np.uint8) for frame in frames]
    for index, (before, after) in enumerate(pairwise(grey)):
        yield FlowPair(
            frames[index],
            frames[index + 1],
            # copy: the search reuses its result as the next initial guess
            search.calc(before, after, None).copy(),
            search.calc(after, before, None).copy(),
        )


def warp_error(pair: FlowPair) -> float | None:
    """Return the mean squared error between a frame and the next one warped back by the flow (Lai et al. 2018).

    Averages over visible pixels and colours, with values scaled to 0 to 1. None if no pixel is visible.
    """
    visible = pair.visible()
    if not visible.any():
        return None
    warped = _sample(pair.after.astype(np.float32), pair.forward)
    return float((np.square(warped - pair.before)[visible] / 255**2).mean(dtype=np.float64))


def dynamic_degree(pair: FlowPair) -> float:
    """Return the mean flow magnitude of the fastest 5 % of the pixels, divided by the shorter side (VBench 2023)."""
    lengths = np.sort(np.sqrt(_squares(pair.forward)), axis=None)
    fastest = lengths[-max(1, int(FASTEST * lengths.size)) :]
    return float(fastest.mean(dtype=np.float64) / min(pair.forward.shape[:2]))


def load_opencv() -> Any:
    """Import OpenCV, an optional dependency. Raises `UsageError` if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise UsageError("OpenCV is not installed, which motion metrics need", hint=INSTALL_HINT) from error
    return cv2


INSTALL_HINT = "pip install 'animdiff[eval]'"


def _sample(values: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Warp `values` [H, W, C] by the flow: bilinear interpolation, edge values repeated outside the frame."""
    cv2 = load_opencv()
    x, y = _targets(flow)
    sampled: NDArray[np.float32] = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled


def _inside(flow: Flow) -> NDArray[np.bool_]:
    height, width = flow.shape[:2]
    x, y = _targets(flow)
    # the frame ends half a pixel beyond the centre of its last pixel
    within: NDArray[np.bool_] = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return within


def _targets(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _squares(vectors: Flow) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.square(vectors).sum(axis=-1)
    return squares
