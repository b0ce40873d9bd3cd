"""Camera moves stay inside the frame and move by the direction and amount of the shot and speed."""

from itertools import pairwise
from math import isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.choices import Shot
from animdiff_cli.core.shots import shot_windows, still_window

SHOTS = Shot.__args__

speeds = st.floats(0.01, 2)
sides = st.floats(8, 8192)
aspects = st.floats(0.3, 3)
shares = st.floats(0, 1)
positions = st.tuples(shares, shares)
counts = st.integers(2, 40)
easings = st.sampled_from(["linear", "smooth"])
moves = {
    "speed": speeds,
    "num_frames": counts,
    "width": sides,
    "height": sides,
    "aspect": aspects,
    "position": positions,
    "easing": easings,
}


def inside(window, width, height):
    tolerance = 1e-9 * max(width, height)
    return all(
        -tolerance <= x <= width + tolerance and -tolerance <= y <= height + tolerance for x, y in window.corners()
    )


@given(st.sampled_from(SHOTS), st.fixed_dictionaries(moves))
def test_every_window_is_inside_the_frame(shot, move):
    windows = shot_windows(shot, **move)
    assert len(windows) == move["num_frames"]
    assert all(inside(window, move["width"], move["height"]) for window in windows)


@given(st.sampled_from(SHOTS), st.fixed_dictionaries(moves))
def test_every_window_has_the_requested_aspect_ratio(shot, move):
    windows = shot_windows(shot, **move)
    assert all(isclose(window.width / window.height, move["aspect"], rel_tol=1e-9) for window in windows)


@given(st.sampled_from(["pan-left", "pan-right", "tilt-up", "tilt-down"]), st.fixed_dictionaries(moves))
def test_pans_and_tilts_translate_by_speed_times_window_size(shot, move):
    windows = shot_windows(shot, **move)
    x = [window.x for window in windows]
    y = [window.y for window in windows]
    along, across = (x, y) if shot.startswith("pan") else (y, x)
    sign = 1 if shot in ("pan-right", "tilt-down") else -1
    size = windows[0].width if shot.startswith("pan") else windows[0].height
    assert all(sign * (after - before) > 0 for before, after in pairwise(along))
    assert len(set(across)) == 1
    assert len({(window.width, window.height, window.angle) for window in windows}) == 1
    assert isclose(sign * (along[-1] - along[0]), move["speed"] * size, rel_tol=1e-6)


@given(st.sampled_from(["zoom-in", "zoom-out"]), st.fixed_dictionaries(moves))
def test_zooms_scale_the_window_about_its_center(shot, move):
    windows = shot_windows(shot, **move)
    widths = [window.width for window in windows]
    widths = widths if shot == "zoom-in" else widths[::-1]
    assert all(after < before for before, after in pairwise(widths))
    assert isclose(widths[0] / widths[-1], 1 + move["speed"], rel_tol=1e-9)
    assert len({(window.x, window.y) for window in windows}) == 1


@given(st.fixed_dictionaries(moves | {"easing": st.just("linear")}))
def test_a_zoom_scales_by_a_constant_factor_per_frame(move):
    windows = shot_windows("zoom-in", **move)
    factors = [before.width / after.width for before, after in pairwise(windows)]
    assert all(isclose(factor, factors[0], rel_tol=1e-6) for factor in factors)


@given(st.sampled_from(["roll-cw", "roll-ccw"]), st.fixed_dictionaries(moves))
def test_rolls_rotate_symmetrically_by_90_degrees_at_speed_1(shot, move):
    windows = shot_windows(shot, **move)
    sign = 1 if shot == "roll-cw" else -1
    angles = [sign * window.angle for window in windows]
    assert all(after > before for before, after in pairwise(angles))
    assert isclose(angles[-1] - angles[0], 90 * move["speed"], rel_tol=1e-9)
    assert isclose(angles[0], -angles[-1], rel_tol=1e-6)
    assert len({(window.x, window.y, window.width) for window in windows}) == 1


@given(st.sampled_from(SHOTS), st.fixed_dictionaries(moves))
def test_a_move_uses_the_full_frame(shot, move):
    """The windows reach the full width or height of the frame: larger ones would not fit."""
    windows = shot_windows(shot, **move)
    corners = [corner for window in windows for corner in window.corners()]
    across = max(x for x, _ in corners) - min(x for x, _ in corners)
    down = max(y for _, y in corners) - min(y for _, y in corners)
    assert isclose(across, move["width"], rel_tol=1e-6) or isclose(down, move["height"], rel_tol=1e-6)


@given(st.sampled_from(SHOTS), st.fixed_dictionaries(moves | {"num_frames": st.integers(5, 40)}))
def test_an_eased_move_covers_the_same_distance_and_is_slower_at_both_ends(shot, move):
    linear, smooth = (shot_windows(shot, **move | {"easing": easing}) for easing in ("linear", "smooth"))
    assert isclose(distance(smooth[0], smooth[-1]), distance(linear[0], linear[-1]), rel_tol=1e-6)
    assert distance(*smooth[:2]) < distance(*linear[:2])
    assert distance(*smooth[-2:]) < distance(*linear[-2:])


def distance(first, second):
    """Distance of two windows in the one property that a shot changes."""
    translation = abs(second.x - first.x) + abs(second.y - first.y)
    return translation / first.width + abs(log(second.width / first.width)) + abs(second.angle - first.angle)


@given(sides, sides, aspects, positions)
def test_a_still_window_is_the_largest_that_fits(width, height, aspect, position):
    window = still_window(width, height, aspect, position)
    assert inside(window, width, height)
    assert isclose(window.width, width, rel_tol=1e-9) or isclose(window.height, height, rel_tol=1e-9)


@pytest.mark.parametrize(("frames", "speed"), [(1, 0.5), (16, 0.0), (16, -0.5)])
def test_an_invalid_move_is_refused(frames, speed):
    with pytest.raises(ValueError, match=r"at least 2|above 0"):
        shot_windows("pan-left", speed, frames, 64, 64)
