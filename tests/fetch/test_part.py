"""Byte ranges account for every byte, and errors of background syncs are not lost."""

import os
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.fetch.part import (
    SYNC_INTERVAL,
    BackgroundSync,
    contiguous_bytes,
    count_bytes,
    merge_ranges,
    missing_ranges,
    split_ranges,
)

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1])), max_size=12)


def bytes_of(ranges):
    return {byte for start, stop in ranges for byte in range(start, stop)}


@given(RANGES)
def test_merging_keeps_every_byte_without_overlap(ranges):
    merged = merge_ranges(ranges)
    assert bytes_of(merged) == bytes_of(ranges)
    assert count_bytes(merged) == len(bytes_of(ranges))
    assert all(before[1] < after[0] for before, after in pairwise(merged))


@given(RANGES, st.integers(0, 90))
def test_missing_ranges_are_the_exact_complement(ranges, size):
    assert bytes_of(missing_ranges(ranges, size)) == set(range(size)) - bytes_of(ranges)


@given(RANGES, st.integers(1, 9))
def test_splitting_keeps_every_byte_in_short_ranges(ranges, longest):
    parts = split_ranges(ranges, longest)
    assert bytes_of(parts) == bytes_of(ranges)
    assert all(0 < stop - start <= longest for start, stop in parts)


@given(RANGES)
def test_contiguous_bytes_end_at_the_first_missing_byte(ranges):
    present = bytes_of(ranges)
    assert contiguous_bytes(ranges) == next(byte for byte in range(100) if byte not in present)


@pytest.fixture
def failing_sync():
    """A sync of a pipe, for which fsync always fails."""
    ends = os.pipe()
    sync = BackgroundSync(ends[1])
    yield sync
    sync.close()
    for end in ends:
        os.close(end)


def test_a_sync_error_is_raised_by_the_last_flush(failing_sync):
    with pytest.raises(OSError, match="Invalid argument"):
        failing_sync.flush_rest(1).result()


def test_a_sync_error_during_the_download_is_raised_by_the_next_flush(failing_sync):
    failing_sync.flush_if_due(SYNC_INTERVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        for _ in range(10_000):
            time.sleep(0.001)
            failing_sync.flush_if_due(2 * SYNC_INTERVAL)
