"""Which calls of a UNet compute its deep layers, and which reuse them (DeepCache)."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from animdiff_cli.core.choices import StepCache


def reuse_interval(cache: StepCache) -> int:
    """Return every how many calls deep layers are computed, by the setting `cache`.

    >>> reuse_interval("off"), reuse_interval("deep:3")
    (1, 3)
    """
    return int(cache.partition(":")[2] or 1)


def first_of_interval(step: int, interval: int) -> int:
    """Return the call of a sampler whose deep layers call `step` reuses.

    >>> [first_of_interval(step, 3) for step in range(5)]
    [0, 0, 0, 3, 3]
    """
    return step - step % interval


@dataclass(slots=True)
class ReuseSchedule:
    """Decides call after call of one clip. Calls of the sampler count from 0; each has one UNet call per window."""

    interval: int
    _first: int = -1  # call of the sampler whose deep layers are kept
    _rows: dict[Hashable, int] = field(default_factory=dict)  # rows of guidance that are kept, by window

    def is_deep(self, window: Hashable, step: int, rows: int) -> bool:
        """Return whether a UNet call computes the deep layers.

        It does in every `interval`th call of the sampler, and where it needs more rows of guidance than are kept.
        """
        first = first_of_interval(step, self.interval)
        if first != self._first:
            self._rows.clear()
            self._first = first
        deep = step == first or rows > self._rows.get(window, 0)
        if deep:
            self._rows[window] = rows
        return deep

    def keeps(self, window: Hashable) -> bool:
        """Return whether what was computed for a window is still needed."""
        return window in self._rows
