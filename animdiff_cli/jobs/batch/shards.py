"""`--shard 2/3`: the second of three parts of a batch, for machines that share no queue."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from animdiff_cli.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index`, from 1, of `count`."""

    index: int
    count: int

    def of(self, jobs: Sequence[T]) -> Sequence[T]:
        """Return the jobs of this shard: a block, because neighbours need the same weights. Sizes differ by at most 1.

        >>> [list(Shard(index, 3).of("abcdefgh")) for index in (1, 2, 3)]
        [['a', 'b'], ['c', 'd', 'e'], ['f', 'g', 'h']]
        """
        first, end = (len(jobs) * part // self.count for part in (self.index - 1, self.index))
        return jobs[first:end]

    @property
    def manifest(self) -> str:
        """Name of the manifest that this shard appends to."""
        return f"manifest-{self.index}-of-{self.count}.jsonl"


def parse_shard(text: str) -> Shard:
    """Parse `i/n`. Raises `UsageError`.

    >>> parse_shard("2/3")
    Shard(index=2, count=3)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"`{text}` is not a shard", hint="write the part and the number of parts: `--shard 1/4`")
    index, count = int(match[1]), int(match[2])
    if not 1 <= index <= count:
        raise UsageError(
            f"there is no shard {index} of {count}", hint=f"shards are `1/{count or 1}` to `{count or 1}/{count or 1}`"
        )
    return Shard(index, count)
