"""Frame durations in file formats: integer ticks per frame, rounded so that the clip keeps its total duration."""

from fractions import Fraction
from itertools import pairwise

from animdiff_cli.core.formats import FORMATS, Format
from animdiff_cli.errors import UsageError

#: a GIF delay is a 16-bit number of centiseconds, at most eleven minutes
MIN_FPS = 1 / 600


def check_fps(fps: float, format: Format) -> None:
    """Raise `UsageError` for a frame rate that the format cannot store."""
    limit = FORMATS[format].max_fps
    if limit is not None and fps > limit:
        raise UsageError(
            f"{format} supports at most {limit:g} frames per second, got {fps:g}",
            hint=f"write a video with `--format mp4`, or lower the rate with `--fps {limit:g}`",
        )
    if not MIN_FPS <= fps < float("inf"):
        raise UsageError(
            f"{fps:g} frames per second cannot be stored: a frame may last at most ten minutes", hint="try `--fps 8`"
        )


def frame_ticks(num_frames: int, fps: float, ticks_per_second: int) -> list[int]:
    """Return each frame's duration in integer ticks. Every frame starts within half a tick of its exact time.

    Rounding each duration alone would drift: at 8 fps a frame lasts 12.5 centiseconds; with 12, a clip plays 4 % fast.

    >>> frame_ticks(3, fps=24, ticks_per_second=1000)
    [42, 41, 42]
    """
    starts = [round(ticks_per_second * frame / fps) for frame in range(num_frames + 1)]
    return [after - before for before, after in pairwise(starts)]


def gif_delays(num_frames: int, fps: float) -> list[int]:
    """Return each frame's delay in centiseconds, the unit of GIF. Raises `UsageError` above 50 fps.

    >>> gif_delays(4, fps=8)
    [12, 13, 13, 12]
    """
    check_fps(fps, "gif")
    return frame_ticks(num_frames, fps, 100)


def durations_ms(num_frames: int, fps: float) -> list[int]:
    """Return each frame's duration in milliseconds, the unit of WebP.

    >>> durations_ms(3, fps=30)
    [33, 34, 33]
    """
    return frame_ticks(num_frames, fps, 1000)


def frame_rate(fps: float) -> Fraction:
    """Return frames per second as the fraction that a video container stores.

    >>> frame_rate(24000 / 1001)
    Fraction(24000, 1001)
    """
    return Fraction(fps).limit_denominator(1_000_000)
