"""What step 1234 of a run sees, computed from the seed and the number alone.

Nothing is remembered between steps, so a run that resumes needs no state of any random generator, and several processes
agree without talking: sample `p` of a run is the same whoever computes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: keep the random numbers of a sample and the order of an epoch apart
_SAMPLE, _ORDER = 1, 2

#: sampling begins above this share of the timesteps, in any usual number of steps
FIRST_STEPS = 0.9


@dataclass(frozen=True, slots=True)
class ScheduledSample:
    """One training sample: which clip in which variant, and the random numbers that go with it."""

    index: int  # of the clip in the data set
    variant: int  # of the clip: another start, speed or crop
    timestep: int
    frame: float  # in [0, 1): which frame stands alone, for what looks at single frames
    drop_caption: bool
    mask_spatial: bool  # run the motion pass without the LoRA that absorbs appearance
    from_noise: bool  # show nothing of the clip: `timestep` is then one that sampling begins at
    noise_seed: int


@dataclass(frozen=True, slots=True)
class SampleSchedule:
    """The samples of a run. Each epoch takes every clip once, in an order of its own, one variant after another."""

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
        epoch, place = divmod(position, self.num_clips)
        index = int(_order(self.num_clips, self.seed, epoch)[place])
        random = np.random.default_rng([self.seed, _SAMPLE, position])
        timestep, frame, dropped, masked = (
            int(random.integers(self.first_timestep, self.num_timesteps)),
            *random.random(3),
        )
        from_noise = self.from_noise > 0 and random.random() < self.from_noise
        if from_noise:
            timestep = int(random.integers(int(FIRST_STEPS * self.num_timesteps), self.num_timesteps))
        return ScheduledSample(
            index=index,
            variant=(epoch + index) % self.variants,
            timestep=timestep,
            frame=float(frame),
            drop_caption=bool(dropped < self.caption_dropout),
            mask_spatial=bool(masked < self.spatial_mask),
            from_noise=from_noise,
            noise_seed=int(random.integers(2**63)),
        )

    def pairs(self, positions: Iterable[int]) -> list[tuple[int, int]]:
        """List which (clip, variant) the samples at `positions` need, each once, in order of first use."""
        return list(dict.fromkeys(self._pair(position) for position in positions))

    def _pair(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.num_clips)
        index = int(_order(self.num_clips, self.seed, epoch)[place])
        return index, (epoch + index) % self.variants


def positions_of(step: int, micro: int, batch: int, accumulation: int, rank: int = 0, world: int = 1) -> Iterator[int]:
    """Yield the positions one process takes in one micro-batch of a step.

    A step takes `batch * accumulation * world` samples; two processes share what one would take with twice the batch.

    >>> [list(positions_of(1, 0, batch=2, accumulation=1, rank=r, world=2)) for r in (0, 1)]
    [[4, 5], [6, 7]]
    """
    first = (step * accumulation + micro) * world * batch + rank * batch
    yield from range(first, first + batch)


@lru_cache(maxsize=2)
def _order(num_clips: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(num_clips)
