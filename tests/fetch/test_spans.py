"""Spans: every byte is either here or missing, never both."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.fetch.spans import frontier, gaps, merge, split, total

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1])), max_size=12)


def bytes_of(spans):
    return {byte for start, stop in spans for byte in range(start, stop)}


@given(SPANS)
def test_merging_keeps_every_byte_and_no_overlap(spans):
    merged = merge(spans)
    assert bytes_of(merged) == bytes_of(spans)
    assert total(merged) == len(bytes_of(spans))
    assert all(before[1] < after[0] for before, after in pairwise(merged))


@given(SPANS, st.integers(0, 90))
def test_what_is_missing_is_exactly_what_is_not_here(spans, size):
    assert bytes_of(gaps(spans, size)) == set(range(size)) - bytes_of(spans)


@given(SPANS, st.integers(1, 9))
def test_splitting_keeps_every_byte_in_short_pieces(spans, longest):
    pieces = split(spans, longest)
    assert bytes_of(pieces) == bytes_of(spans)
    assert all(0 < stop - start <= longest for start, stop in pieces)


@given(SPANS)
def test_the_frontier_is_the_first_byte_that_is_missing(spans):
    here = bytes_of(spans)
    assert frontier(spans) == next(byte for byte in range(100) if byte not in here)
