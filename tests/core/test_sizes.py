"""Sizes the model can render."""

from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.sizes import nearest_sizes


@given(st.integers(0, 10**6))
def test_the_nearest_sizes_enclose_the_one_asked_for(pixels):
    sizes = nearest_sizes(pixels)
    assert all(size > 0 and size % 8 == 0 and abs(size - pixels) <= 8 for size in sizes)
    assert (sizes == (pixels,)) == (pixels > 0 and pixels % 8 == 0)
