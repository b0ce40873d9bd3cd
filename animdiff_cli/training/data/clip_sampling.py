"""Which clip is cut out of a video: decided by the content, the settings and the number of the draw alone."""

import random
from dataclasses import dataclass

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.shots import Window, shot_windows, still_window
from animdiff_cli.training.data.timeline import Pace, Timeline, clip_frames, clip_starts


@dataclass(frozen=True, slots=True)
class ClipSample:
    """One clip, not yet decoded: its frames, and the move of the camera over them."""

    frames: tuple[int, ...]
    place: tuple[float, float]  # of what is seen in the room there is, from (0, 0) to (1, 1)
    speed: float  # of the shot
    mirrored: bool

    def windows(self, config: DataConfig, width: float, height: float, bucket: tuple[int, int]) -> tuple[Window, ...]:
        """What the camera sees of each frame, on frames of this size; `bucket` is (height, width)."""
        aspect = bucket[1] / bucket[0]
        if config.shot is None:
            return (still_window(width, height, aspect, self.place),) * len(self.frames)
        return shot_windows(
            config.shot,
            self.speed,
            len(self.frames),
            width,
            height,
            aspect=aspect,
            place=self.place,
            easing=config.shot_easing,
        )


def pace_of(config: DataConfig) -> Pace:
    """How the frames of a clip are spaced."""
    return Pace(config.num_frames, config.stride, config.fps)


def choose(config: DataConfig, timeline: Timeline, key: str, draw: int) -> ClipSample:
    """Draw a start, a place, a speed and a side; the same `key` and `draw` give the same on every machine."""
    # a string seeds through sha512, and `random()` is the method whose numbers Python promises to keep
    chance = random.Random(f"{key}/{draw}")
    start, across, down, speed, side = (chance.random() for _ in range(5))
    starts = clip_starts(timeline, pace_of(config), avoid_cuts=config.avoid_cuts)
    first = starts[int(start * len(starts))]
    slowest, fastest = config.shot_speed
    return ClipSample(
        frames=tuple(clip_frames(timeline, pace_of(config), first, avoid_cuts=config.avoid_cuts)),
        place=(across, down),
        speed=slowest + (fastest - slowest) * speed,
        mirrored=config.horizontal_flip and side < 0.5,
    )
