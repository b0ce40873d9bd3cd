"""Classifier-free guidance of a clip: its scale at every frame of every call, and the rows that a call needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from animdiff_cli.core.curves import Series


@dataclass(frozen=True, slots=True)
class Guidance:
    """The scale of classifier-free guidance in the first part of a sampler's calls, and 1 after it.

    The part is a limited interval of Kynkäänniemi et al. 2024 (arXiv 2404.07724) that begins with the first call.
    """

    scale: Series
    until: float = 1.0  # share of the calls
    calls: int = 1

    def at(self, frames: Sequence[int], step: int) -> float | list[float]:
        """Return the scale at these frames in this call, counted from 0; one per frame where they differ.

        >>> [Guidance(Series((7.5,)), until=0.5, calls=3).at([0], step) for step in range(3)]
        [7.5, 7.5, 1.0]
        """
        has_ended = self.until < 1 and step / self.calls >= self.until
        return 1.0 if has_ended else self.scale.at(frames, step)

    def rows(self, frames: Sequence[int], step: int) -> int:
        """Return 2 if any of these frames is guided in this call, else 1: the row with text."""
        scale = self.at(frames, step)
        return 2 if (scale if isinstance(scale, float) else max(scale)) > 1 else 1
