"""Frame sizes: multiples of 8 near the requested size; buckets near the aspect ratio of the video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.sizes import MAX_ASPECT, SMALL, STEP, bucket_for, nearest_sizes

sides = st.integers(1, 8192)
sizes = st.integers(2, 128).map(lambda number: 8 * number)


@given(st.integers(0, 10**6))
def test_the_nearest_sizes_enclose_the_requested_one(pixels):
    nearest = nearest_sizes(pixels)
    assert all(size > 0 and size % 8 == 0 and abs(size - pixels) <= 8 for size in nearest)
    assert (nearest == (pixels,)) == (pixels > 0 and pixels % 8 == 0)


@given(sides, sides, sizes)
def test_the_shorter_side_is_the_size_and_the_longer_a_multiple_of_8(width, height, size):
    bucket = bucket_for(width, height, size)
    assert min(bucket) == size
    assert max(bucket) % 8 == 0


@given(sides, sides, sizes)
def test_the_longer_side_is_the_nearest_step(width, height, size):
    step = STEP if size >= SMALL else 8
    aspect = min(max(width, height) / min(width, height), MAX_ASPECT)
    assert abs(max(bucket_for(width, height, size)) - size * aspect) <= step / 2 + 1e-6


@given(sides, sides, sizes)
def test_a_rotated_video_gets_the_rotated_bucket(width, height, size):
    assert bucket_for(height, width, size) == bucket_for(width, height, size)[::-1]


@given(sides, sides, sizes)
def test_square_buckets_are_square(width, height, size):
    assert bucket_for(width, height, size, square=True) == (size, size)


def test_a_size_that_is_not_a_multiple_of_8_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        bucket_for(640, 480, 100)
