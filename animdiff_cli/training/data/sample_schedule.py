"""The order of training samples and their random numbers, computed from the seed and the position alone.

No state is kept between steps: a resumed run needs no generator state, and several processes agree without
communication. Sample `p` of a run is the same in every process.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: separate the random streams of samples and of epoch orders
_SAMPLE, _ORDER = 1, 2

#: with any usual number of steps, sampling starts above this share of the timesteps
FIRST_STEPS = 0.9


@dataclass(frozen=True, slots=True)
class ScheduledSample:
    """One training sample: a clip, its variant, and its random numbers."""

    index: int  # of the clip in the data set
    variant: int  # of the clip: another start, speed or crop
    timestep: int
    frame: float  # in [0, 1): position of the frame for image losses and debiasing
    drop_caption: bool
    mask_spatial: bool  # compute the motion loss without the spatial LoRA
    from_noise: bool  # show the model pure noise; `timestep` is then one that sampling starts at
    noise_seed: int


@dataclass(frozen=True, slots=True)
class SampleSchedule:
    """The samples of a run. Each epoch visits every clip once, in a new order, with the next variant of each clip."""

    num_clips: int
    variants: int = 1
    seed: int = 0
    caption_dropout: float = 0.0
    spatial_mask: float = 0.0
    from_noise: float = 0.0
    first_timestep: int = 0
    num_timesteps: int = 1000

    def at(self, position: int) -> ScheduledSample:
        """Return sample `position`, counted from 0 over the whole run and all processes.

        >>> [SampleSchedule(3, seed=7).at(position).index for position in range(6)]
        [2, 1, 0, 2, 1, 0]
        """
        index, variant = self._pair(position)
        generator = np.random.default_rng([self.seed, _SAMPLE, position])
        timestep, frame, dropped, masked = (
            int(generator.integers(self.first_timestep, self.num_timesteps)),
            *generator.random(3),
        )
        from_noise = self.from_noise > 0 and generator.random() < self.from_noise
        if from_noise:
            timestep = int(generator.integers(int(FIRST_STEPS * self.num_timesteps), self.num_timesteps))
        return ScheduledSample(
            index=index,
            variant=variant,
            timestep=timestep,
            frame=float(frame),
            drop_caption=bool(dropped < self.caption_dropout),
            mask_spatial=bool(masked < self.spatial_mask),
            from_noise=from_noise,
            noise_seed=int(generator.integers(2**63)),
        )

    def pairs(self, positions: Iterable[int]) -> list[tuple[int, int]]:
        """Return the distinct (index, variant) pairs of the samples at `positions`, in order of first use."""
        return list(dict.fromkeys(self._pair(position) for position in positions))

    def _pair(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.num_clips)
        index = int(_order(self.num_clips, self.seed, epoch)[place])
        return index, (epoch + index) % self.variants


def positions_of(
    step: int, micro_batch: int, batch: int, accumulation: int, rank: int = 0, world_size: int = 1
) -> Iterator[int]:
    """Yield the positions of one process in one micro-batch of a step.

    A step uses `batch * accumulation * world_size` samples: two processes share the samples of one process with twice
    the batch.

    >>> [list(positions_of(1, 0, batch=2, accumulation=1, rank=rank, world_size=2)) for rank in (0, 1)]
    [[4, 5], [6, 7]]
    """
    first = (step * accumulation + micro_batch) * world_size * batch + rank * batch
    yield from range(first, first + batch)


@lru_cache(maxsize=2)
def _order(num_clips: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(num_clips)
