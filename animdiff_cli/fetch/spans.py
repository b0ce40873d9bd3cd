"""Which bytes of a file are here and which are not: arithmetic on spans."""

from collections.abc import Iterable

Span = tuple[int, int]  # bytes [start, stop)


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sort spans and join those that touch or overlap; empty ones vanish.

    >>> merge([(8, 9), (0, 4), (4, 6), (5, 5)])
    ((0, 6), (8, 9))
    """
    joined: list[Span] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def gaps(spans: Iterable[Span], size: int) -> tuple[Span, ...]:
    """List what is missing from the first `size` bytes.

    >>> gaps([(2, 4)], size=10)
    ((0, 2), (4, 10))
    """
    missing, at = [], 0
    for start, stop in merge(spans):
        if at < min(start, size):
            missing.append((at, min(start, size)))
        at = max(at, stop)
    return (*missing, (at, size)) if at < size else tuple(missing)


def split(spans: Iterable[Span], longest: int) -> tuple[Span, ...]:
    """Cut spans into pieces of at most `longest` bytes.

    >>> split([(0, 5)], longest=2)
    ((0, 2), (2, 4), (4, 5))
    """
    return tuple((at, min(at + longest, stop)) for start, stop in spans for at in range(start, stop, longest))


def frontier(spans: Iterable[Span]) -> int:
    """Count the bytes that are here without a gap from the beginning."""
    first = next(iter(merge(spans)), (0, 0))
    return first[1] if first[0] == 0 else 0


def total(spans: Iterable[Span]) -> int:
    """Count the bytes that are here."""
    return sum(stop - start for start, stop in merge(spans))
