"""Take the measures of one clip that need no weights, walking over its pairs of frames once."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from animdiff_cli.metrics.align import Similarity, fit_similarity
from animdiff_cli.metrics.camera import CameraMotion, combine
from animdiff_cli.metrics.flow import MIN_SIDE, dynamic_degree, flow_pairs, warp_error
from animdiff_cli.metrics.similarity import psnr, ssim
from animdiff_cli.metrics.temporal import Frames, change, difference, flicker, loop_seam


def temporal_values(frames: Frames) -> dict[str, float | None]:
    """Measure what needs only the pixels of a clip, uint8 [F, H, W, 3]; raw values by key."""
    return {"change": change(frames), "flicker": flicker(frames), "seam": loop_seam(frames)}


def flow_values(frames: Frames) -> tuple[dict[str, float | None], CameraMotion | None]:
    """Measure what needs optical flow: raw values by key, and the camera. All None for one frame or tiny ones.

    Raises `UsageError` where OpenCV is missing.
    """
    warps: list[float | None] = []
    degrees: list[float | None] = []
    fits: list[Similarity | None] = []
    for pair in flow_pairs(frames) if len(frames) > 1 and min(frames.shape[1:3]) >= MIN_SIDE else ():
        warps.append(warp_error(pair))
        degrees.append(dynamic_degree(pair))
        fits.append(fit_similarity(pair))
    return {"warp": _mean(warps), "dynamic": _mean(degrees)}, combine(fits, width=frames.shape[2])


def likeness_values(frames: Frames, others: Frames) -> dict[str, float | None]:
    """Compare with another clip: raw values by key. Raises `UsageError` unless length and size match."""
    return {"ssim": ssim(frames, others), "psnr": psnr(frames, others)}


def steps(frames: Frames) -> tuple[float, ...]:
    """Tell how far each frame is from the next, and the last from the first, in grey levels; empty for one frame."""
    if len(frames) < 2:
        return ()
    return tuple(difference(before, after) for before, after in pairwise([*frames, frames[0]]))


def _mean(values: Iterable[float | None]) -> float | None:
    taken = [value for value in values if value is not None]
    return float(np.mean(taken)) if taken else None
