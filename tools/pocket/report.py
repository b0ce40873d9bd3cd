"""Shares with their uncertainty, and the table they are shown in."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share itself, 0 to 1; 0 of 0 is 0."""
        return self.hits / self.of if self.of else 0.0

    def interval(self) -> tuple[float, float]:
        """Bound the true share with 95 % confidence (Wilson 1927).

        >>> [round(bound, 3) for bound in Share(9, 10).interval()]
        [0.596, 0.982]
        """
        if not self.of:
            return 0.0, 1.0
        spread = Z_95**2 / self.of
        middle = self.value + spread / 2
        reach = math.sqrt(spread * self.value * (1 - self.value) + spread**2 / 4)
        return max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread))

    def as_json(self) -> dict[str, object]:
        """Tell the share, its counts and its interval."""
        low, high = self.interval()
        return {"share": self.value, "hits": self.hits, "of": self.of, "interval_95": [low, high]}

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.value:.1%} ({self.hits}/{self.of}; {low:.1%} to {high:.1%})"


def share(outcomes: Iterable[bool]) -> Share:
    """Count how many of the outcomes are true."""
    counted = [bool(outcome) for outcome in outcomes]
    return Share(sum(counted), len(counted))


def total(shares: Iterable[Share]) -> Share:
    """Add up hits and counts."""
    together = list(shares)
    return Share(sum(one.hits for one in together), sum(one.of for one in together))


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a table.

    >>> print(markdown(("a", "b"), [(1, 2)]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    cells = ("|".join(f" {cell} " if cell != "---" else "---" for cell in line) for line in lines)
    return "\n".join(f"|{line}|" for line in cells)
