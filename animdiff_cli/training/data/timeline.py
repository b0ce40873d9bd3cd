"""When the frames of a video come, and which of them make a clip."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: a frame that comes within this share of a frame's time counts as being in time
TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class Timeline:
    """What one look through a video tells: its size as shown, upright and with square pixels, and its frames' times."""

    width: int
    height: int
    times: tuple[float, ...]  # seconds, increasing
    cuts: tuple[int, ...] = ()  # frames that begin a new scene, but for the first

    @property
    def rate(self) -> float:
        """Frames per second on average; 0 for a single frame."""
        length = self.times[-1] - self.times[0]
        return (len(self.times) - 1) / length if length > 0 else 0.0

    def scenes(self, *, avoid_cuts: bool = True) -> list[range]:
        """Frame numbers of each scene, in order; all frames where cuts do not matter."""
        edges = [0, *(self.cuts if avoid_cuts else ()), len(self.times)]
        return [range(start, end) for start, end in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Pace:
    """How clips are spaced: every `stride`-th of `fps` frames per second, or of the video's own where None."""

    num_frames: int
    stride: int
    fps: float | None = None

    def period(self, timeline: Timeline) -> float:
        """Seconds between two frames of a clip; 0 for a still, whose frame can only be repeated."""
        rate = self.fps or timeline.rate
        return self.stride / rate if rate and len(timeline.times) > 1 else 0.0


def clip_starts(timeline: Timeline, pace: Pace, *, avoid_cuts: bool = True) -> list[int]:
    """List the frames at which a clip may begin so that it ends within the scene."""
    slack = _slack(timeline)
    length = (pace.num_frames - 1) * pace.period(timeline)
    starts: list[int] = []
    for scene in timeline.scenes(avoid_cuts=avoid_cuts):
        last = timeline.times[scene[-1]] - length + slack
        starts += scene[: bisect_right(timeline.times, last, scene.start, scene.stop) - scene.start]
    return starts


def clip_frames(timeline: Timeline, pace: Pace, start: int, *, avoid_cuts: bool = True) -> list[int]:
    """Number the frames of the clip that begins at `start`: for each moment the frame of the scene nearest to it.

    >>> clip_frames(Timeline(8, 8, (0.0, 0.1, 0.2, 0.3, 0.4)), Pace(3, 2), 0)
    [0, 2, 4]
    """
    times, period = np.asarray(timeline.times), pace.period(timeline)
    moments = times[start] + period * np.arange(pace.num_frames)
    after = (
        np.clip(np.searchsorted(times, moments), 1, len(times) - 1) if len(times) > 1 else np.zeros(len(moments), int)
    )
    before = np.maximum(after - 1, 0)
    nearer = np.where(moments - times[before] <= times[after] - moments, before, after)
    end = next(scene.stop for scene in timeline.scenes(avoid_cuts=avoid_cuts) if start in scene)
    return [min(int(index), end - 1) for index in nearer]


def why_unusable(timeline: Timeline, pace: Pace, *, avoid_cuts: bool = True) -> str | None:
    """Say why no clip can be taken, with what would help; None if one can."""
    period = pace.period(timeline)
    if pace.fps and timeline.rate and period < (1 - TOLERANCE) / timeline.rate:
        return f"has {timeline.rate:.3g} frames per second, and a clip takes {pace.fps / pace.stride:.3g}"
    if clip_starts(timeline, pace, avoid_cuts=avoid_cuts):
        return None
    scenes = timeline.scenes(avoid_cuts=avoid_cuts)
    longest = max(len(scene) for scene in scenes)
    needed = 1 + round((pace.num_frames - 1) * period * timeline.rate)
    has = f"has {longest} frames" if len(scenes) == 1 else f"has at most {longest} frames between two cuts"
    return f"too short: it {has}, a clip of {pace.num_frames} takes {needed}{_remedy(longest, pace)}"


def _remedy(longest: int, pace: Pace) -> str:
    fits = (longest - 1) // (pace.num_frames - 1) if pace.num_frames > 1 else 0
    return f" (`--stride {fits}` would do)" if not pace.fps and fits else ""


def _slack(timeline: Timeline) -> float:
    return TOLERANCE / timeline.rate if timeline.rate else 0.0


def seconds_before(times: Sequence[float], index: int) -> float:
    """A moment between frame `index` and the one before it, to begin decoding with exactly that frame."""
    return 0.0 if index == 0 else max((times[index - 1] + times[index]) / 2, 0.0)
