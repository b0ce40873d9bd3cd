"""Sample a clip from a video: which frames, and how the camera moves over them.

A sample depends only on the content of the video, the settings and the variant number.
"""

import random
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.shots import Window, shot_windows, still_window
from animdiff_cli.core.text import counted
from animdiff_cli.training.data.media import Timeline

#: largest deviation of a frame from its ideal time, as a share of a frame's duration
TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class FrameSpacing:
    """Spacing of a clip's frames: every `stride`-th of `fps` frames per second; None is the video's own frame rate."""

    num_frames: int
    stride: int
    fps: float | None = None

    @classmethod
    def of(cls, config: DataConfig) -> "FrameSpacing":
        """Return the spacing that the settings ask for."""
        return cls(config.num_frames, config.stride, config.fps)

    def period(self, timeline: Timeline) -> float:
        """Seconds between two frames of a clip; 0 for a still, whose only frame is repeated."""
        rate = self.fps or timeline.rate
        return self.stride / rate if rate and len(timeline.times) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class ClipSample:
    """One clip that is not decoded yet: its frame numbers and the camera move over them."""

    frames: tuple[int, ...]
    position: tuple[float, float]  # of the crop within the free space, from (0, 0) to (1, 1)
    speed: float  # of the camera move
    mirrored: bool

    def windows(self, config: DataConfig, width: float, height: float, bucket: tuple[int, int]) -> tuple[Window, ...]:
        """Return the crop window of each frame, for frames of this size; `bucket` is (height, width)."""
        aspect = bucket[1] / bucket[0]
        if config.shot is None:
            return (still_window(width, height, aspect, self.position),) * len(self.frames)
        return shot_windows(
            config.shot,
            self.speed,
            len(self.frames),
            width,
            height,
            aspect=aspect,
            position=self.position,
            easing=config.shot_easing,
        )


def sample_clip(config: DataConfig, timeline: Timeline, key: str, variant: int) -> ClipSample:
    """Sample start, crop position, speed and mirroring. Equal on every machine for equal `key` and `variant`."""
    # a string seeds through sha512, and Python guarantees the sequence of `random()` only
    generator = random.Random(f"{key}/{variant}")
    start, across, down, speed, mirror = (generator.random() for _ in range(5))
    spacing = FrameSpacing.of(config)
    starts = clip_starts(timeline, spacing, avoid_cuts=config.avoid_cuts)
    first = starts[int(start * len(starts))]
    slowest, fastest = config.shot_speed
    return ClipSample(
        frames=tuple(clip_frames(timeline, spacing, first, avoid_cuts=config.avoid_cuts)),
        position=(across, down),
        speed=slowest + (fastest - slowest) * speed,
        mirrored=config.horizontal_flip and mirror < 0.5,
    )


def clip_starts(timeline: Timeline, spacing: FrameSpacing, *, avoid_cuts: bool = True) -> list[int]:
    """List the frames at which a clip can start so that it ends within the scene."""
    slack = TOLERANCE / timeline.rate if timeline.rate else 0.0
    length = (spacing.num_frames - 1) * spacing.period(timeline)
    starts: list[int] = []
    for scene in timeline.scenes(avoid_cuts=avoid_cuts):
        last = timeline.times[scene[-1]] - length + slack
        starts += scene[: bisect_right(timeline.times, last, scene.start, scene.stop) - scene.start]
    return starts


def clip_frames(timeline: Timeline, spacing: FrameSpacing, start: int, *, avoid_cuts: bool = True) -> list[int]:
    """Return the frames of the clip that starts at `start`: the frame of the scene nearest to each point in time.

    >>> clip_frames(Timeline(8, 8, (0.0, 0.1, 0.2, 0.3, 0.4)), FrameSpacing(3, 2), 0)
    [0, 2, 4]
    """
    times, period = np.asarray(timeline.times), spacing.period(timeline)
    wanted = times[start] + period * np.arange(spacing.num_frames)
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1) if len(times) > 1 else np.zeros(len(wanted), int)
    before = np.maximum(after - 1, 0)
    nearest = np.where(wanted - times[before] <= times[after] - wanted, before, after)
    end = next(scene.stop for scene in timeline.scenes(avoid_cuts=avoid_cuts) if start in scene)
    return [min(int(index), end - 1) for index in nearest]


def why_unusable(timeline: Timeline, spacing: FrameSpacing, *, avoid_cuts: bool = True) -> str | None:
    """Return why no clip fits into the video, with a remedy; None if one fits."""
    period = spacing.period(timeline)
    if spacing.fps and timeline.rate and period < (1 - TOLERANCE) / timeline.rate:
        return f"has {timeline.rate:.3g} frames per second, but a clip needs {spacing.fps / spacing.stride:.3g}"
    if clip_starts(timeline, spacing, avoid_cuts=avoid_cuts):
        return None
    scenes = timeline.scenes(avoid_cuts=avoid_cuts)
    longest = max(len(scene) for scene in scenes)
    needed = 1 + round((spacing.num_frames - 1) * period * timeline.rate)
    has = (
        f"has {counted(longest, 'frame')}"
        if len(scenes) == 1
        else f"has at most {counted(longest, 'frame')} between two cuts"
    )
    return f"too short: it {has}, but a clip of {spacing.num_frames} needs {needed}{_remedy(longest, spacing)}"


def _remedy(longest: int, spacing: FrameSpacing) -> str:
    fits = (longest - 1) // (spacing.num_frames - 1) if spacing.num_frames > 1 else 0
    return f" (`--stride {fits}` fits)" if not spacing.fps and fits else ""
