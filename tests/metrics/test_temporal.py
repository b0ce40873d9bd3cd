"""Change, flicker and loop seam against values computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.metrics.temporal import change, difference, flicker, loop_seam, luma


def grey(*levels):
    """A clip of flat frames: `[F, 4, 6, 3]`."""
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def test_luma_uses_the_bt601_weights():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert luma(colours)[0] == pytest.approx([76.245, 149.685, 29.07, 255.0], abs=1e-3)


def test_change_is_the_mean_difference_of_consecutive_frames():
    assert change(grey(10, 14, 12)) == pytest.approx(3.0)  # (4 + 2) / 2


def test_differences_of_bytes_do_not_overflow():
    black, white = grey(0, 255)
    assert difference(black, white) == difference(white, black) == 255


def test_a_linear_fade_does_not_flicker():
    assert flicker(grey(10, 20, 30, 40, 50)) == pytest.approx(0, abs=1e-9)


def test_alternating_brightness_flickers_by_its_difference():
    assert flicker(grey(100, 112, 100, 112, 100)) == pytest.approx(12)


def test_a_flash_counts_in_its_frame_and_both_neighbours():
    # second differences at the three inner frames: |0 - 6/2|, |6 - 0|, |0 - 6/2|
    assert flicker(grey(50, 50, 56, 50, 50)) == pytest.approx((3 + 6 + 3) / 3)


def test_motion_over_a_uniform_background_does_not_flicker():
    clip = np.full((6, 32, 32, 3), 90, np.uint8)
    for frame in range(6):
        clip[frame, 10:20, 3 * frame : 3 * frame + 10] = 200
    assert flicker(clip) == pytest.approx(0, abs=1e-9)
    assert change(clip) > 1


def test_a_seamless_loop_has_a_seam_of_one():
    assert loop_seam(grey(0, 10, 20, 10)) == pytest.approx(1)


def test_a_jump_back_is_measured_in_median_steps():
    # the usual step is 10 and the way back 40, each with half a level of rounding
    assert loop_seam(grey(0, 10, 20, 30, 40)) == pytest.approx(40.5 / 10.5)


def test_a_loop_that_repeats_its_first_frame_has_a_seam_below_one():
    assert loop_seam(grey(0, 10, 20, 10, 0)) == pytest.approx(0.5 / 10.5)


def test_a_still_clip_has_a_seam_of_one():
    assert loop_seam(grey(7, 7, 7, 7)) == 1


def test_too_few_frames_give_none():
    assert change(grey(1)) is None
    assert flicker(grey(1, 2)) is None
    assert loop_seam(grey(1, 2)) is None


@given(st.lists(st.integers(0, 255), min_size=3, max_size=12))
def test_flicker_is_invariant_to_reversal_and_inversion(levels):
    clip = grey(*levels)
    assert flicker(clip[::-1]) == pytest.approx(flicker(clip))
    assert flicker(255 - clip) == pytest.approx(flicker(clip), abs=1e-4)
    assert change(clip[::-1]) == pytest.approx(change(clip))
