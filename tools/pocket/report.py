"""Shares with confidence intervals, Markdown tables, and JSON files."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.files.atomic import atomic_write_text

Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A number of hits out of a total."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; 0 for 0 of 0."""
        return self.hits / self.of if self.of else 0.0

    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval (Wilson 1927).

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
        """Return the share, its counts and its interval for JSON."""
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
    """Format a Markdown table.

    >>> print(markdown(("a", "b"), [(1, 2)]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    cells = ("|".join(f" {cell} " if cell != "---" else "---" for cell in line) for line in lines)
    return "\n".join(f"|{line}|" for line in cells)


def write_json(file: Path, value: object, *, indent: int = 1) -> None:
    """Write a value as JSON, atomically."""
    atomic_write_text(file, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")
