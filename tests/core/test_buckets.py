"""Aspect buckets: the shorter side is what was asked for, the longer one a step nearest to the footage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.buckets import MAX_ASPECT, SMALL, STEP, bucket_for

sides = st.integers(1, 8192)
sizes = st.integers(2, 128).map(lambda number: 8 * number)


@given(sides, sides, sizes)
def test_the_shorter_side_is_the_size_and_the_longer_a_whole_number_of_latents(width, height, size):
    bucket = bucket_for(width, height, size)
    assert min(bucket) == size
    assert max(bucket) % 8 == 0


@given(sides, sides, sizes)
def test_the_longer_side_is_the_nearest_step(width, height, size):
    step = STEP if size >= SMALL else 8
    aspect = min(max(width, height) / min(width, height), MAX_ASPECT)
    assert abs(max(bucket_for(width, height, size)) - size * aspect) <= step / 2 + 1e-6


@given(sides, sides, sizes)
def test_turned_footage_gets_the_turned_bucket(width, height, size):
    assert bucket_for(height, width, size) == bucket_for(width, height, size)[::-1]


@given(sides, sides, sizes)
def test_squares_are_squares(width, height, size):
    assert bucket_for(width, height, size, square=True) == (size, size)


def test_a_size_that_latents_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        bucket_for(640, 480, 100)
