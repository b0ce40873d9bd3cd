"""Context windows: properties over thousands of shapes, and the counts that the formulas of peers give."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animdiff_cli.core.windows import Windows, looped_windows, ordered_halving, plan_windows, static_windows
from animdiff_cli.errors import UsageError

SCHEDULES = ("static", "uniform", "looped", "batched")
FUSES = ("flat", "pyramid", "relative", "overlap-linear", "gauss-sigma")


@st.composite
def plans(draw):
    schedule = draw(st.sampled_from(SCHEDULES))
    length = draw(st.integers(2, 40))
    num_frames = length + draw(st.integers(0 if schedule == "looped" else 1, 150))
    overlap = 0 if schedule == "batched" else draw(st.integers(0, length - 1))
    stride = draw(st.integers(1, 5)) if schedule in ("uniform", "looped") else 1
    fuse = draw(st.sampled_from([fuse for fuse in FUSES if fuse != "relative" or schedule == "static"]))
    return Windows(num_frames, length, overlap, stride, schedule, fuse)


@settings(max_examples=1200)
@given(plans(), st.integers(0, 60), st.integers(1, 60))
def test_every_frame_is_covered_once_in_total(plan, step, num_steps):
    """Every window has the same length and distinct frames of the clip; the shares of every frame sum to 1."""
    shares = [0.0] * plan.num_frames
    for window in plan.at(step, num_steps):
        assert len(window.frames) == len(window.shares) == plan.length == len(set(window.frames))
        for frame, share in zip(window.frames, window.shares, strict=True):
            assert 0 <= frame < plan.num_frames and share > 0
            shares[frame] += share
    assert all(math.isclose(share, 1, abs_tol=1e-9) for share in shares)


@settings(max_examples=300)
@given(plans(), st.integers(0, 60))
def test_only_looped_windows_wrap(plan, step):
    for window in plan.at(step, 25):
        if plan.schedule != "looped":
            assert list(window.frames) == sorted(window.frames)


@settings(max_examples=500)
@given(st.integers(2, 40), st.integers(1, 300), st.data())
def test_static_windows_are_as_few_as_the_overlap_allows(length, extra, data):
    overlap = data.draw(st.integers(0, length - 1))
    windows = static_windows(length + extra, length, overlap)
    assert len(windows) == 1 + math.ceil(extra / (length - overlap))
    assert windows[0][0] == 0 and windows[-1][-1] == length + extra - 1
    assert all(set(before) & set(after) or not overlap for before, after in pairwise(windows))


@settings(max_examples=300)
@given(st.integers(2, 32), st.integers(0, 100), st.integers(0, 60), st.data())
def test_looped_windows_hold_the_seam_at_every_step(length, extra, step, data):
    """The last frame and the first are neighbours in a window, whatever the step: that is what makes a loop."""
    overlap = data.draw(st.integers(1, length - 1))
    num_frames = length + extra
    neighbours = {
        pair
        for window in looped_windows(num_frames, length, overlap, 1, step, closed=True)
        for pair in pairwise(window)
    }
    assert neighbours >= {((frame - 1) % num_frames, frame) for frame in range(num_frames)}


#: windows per step, mean over 25 steps, of windows of 16 frames with an overlap of 4: computed from the formulas of
#: ComfyUI-AnimateDiff-Evolved. Looped columns are strides 1, 2, 3.
COUNTS = {24: (2, 2), 32: (3, 3, 5), 48: (4, 4, 6), 64: (5, 6, 9, 11), 96: (8, 8, 12, 14), 128: (11, 11, 16, 19)}


@pytest.mark.parametrize(("num_frames", "counts"), COUNTS.items())
def test_the_number_of_windows_is_that_of_the_formulas(num_frames, counts):
    static, *looped = counts
    assert len(Windows(num_frames, 16, 4).at(0, 25)) == static
    for stride, expected in enumerate(looped, start=1):
        plan = Windows(num_frames, 16, 4, stride, "looped")
        assert round(sum(len(plan.at(step, 25)) for step in range(25)) / 25) == expected


def test_windows_by_hand():
    def frames(*plan, step=0):
        return [window.frames for window in Windows(*plan).at(step, 25)]

    assert frames(10, 4, 1) == [(0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 8, 9)]
    assert frames(9, 4, 1) == [(0, 1, 2, 3), (3, 4, 5, 6), (5, 6, 7, 8)]
    assert frames(10, 4, 0, 1, "batched") == [(0, 1, 2, 3), (4, 5, 6, 7), (6, 7, 8, 9)]
    assert frames(8, 4, 1, 1, "looped") == [(0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 0, 1)]
    assert frames(8, 4, 1, 2, "looped") == [*frames(8, 4, 1, 1, "looped"), (0, 2, 4, 6), (7, 1, 3, 5)]
    assert frames(8, 4, 1, 1, "looped", step=1) == [(4, 5, 6, 7), (7, 0, 1, 2), (2, 3, 4, 5)]
    assert frames(8, 4, 1, 1, "uniform", step=1) == [(4, 5, 6, 7), (0, 1, 2, 3), (2, 3, 4, 5)]
    assert frames(4, 4, 1, 1, "looped", step=1) == [(2, 3, 0, 1), (1, 2, 3, 0)]
    assert [ordered_halving(step) for step in range(5)] == [0, 0.5, 0.25, 0.75, 0.125]


def test_weights_by_hand():
    def shares(fuse, *, step=0):
        return [window.shares for window in Windows(6, 4, 2, 1, "static", fuse).at(step, 3)]

    third, fifth = 1 / 3, 1 / 5
    assert shares("flat") == [(1, 1, 0.5, 0.5), (0.5, 0.5, 1, 1)]
    assert shares("pyramid")[0] == (1, 1, pytest.approx(2 * third), pytest.approx(third))
    assert shares("pyramid")[1] == (pytest.approx(third), pytest.approx(2 * third), 1, 1)
    assert shares("overlap-linear")[0] == (1, 1, pytest.approx(2 * third), pytest.approx(third))
    middle, edge = 1 - 0.5 / 1.505, 0.01
    assert shares("relative")[0] == (
        1,
        1,
        pytest.approx(middle / (middle + edge)),
        pytest.approx(edge / (middle + edge)),
    )
    assert fifth < shares("gauss-sigma", step=0)[0][3] < 0.5
    assert (
        shares("gauss-sigma", step=0)[0][3] > shares("gauss-sigma", step=1)[0][3] > shares("gauss-sigma", step=2)[0][3]
    )


def plan(num_frames, **settings):
    return plan_windows(num_frames, max_frames=32, usual_length=16, **settings)


@pytest.mark.parametrize("settings", [{}, {"overlap": 3}, {"schedule": "looped"}, {"fuse": "flat"}, {"length": 24}])
def test_a_clip_that_fits_is_one_window(settings):
    assert plan(24, **settings) is None


def test_defaults():
    assert plan(32) is None
    assert plan(33) == Windows(33, 16, 4, 1, "static", "pyramid")
    assert plan(17, length=16) == Windows(17, 16, 4)
    assert plan(40, length=32) == Windows(40, 32, 8)
    assert plan(40, schedule="batched") == Windows(40, 16, 0, 1, "batched")
    assert plan(40, loop=True) == Windows(40, 16, 4, 1, "looped")
    assert plan(16, loop=True) == Windows(16, 16, 4, 1, "looped")
    assert plan(10, loop=True, length=24) == Windows(10, 10, 2, 1, "looped")
    assert str(plan(33, schedule="uniform", stride=2)) == (
        "windows of 16 frames, overlap 4, stride 2, schedule uniform, fuse pyramid"
    )


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"length": 33}, "longer than the 32 positions", "`--context-length 32`"),
        ({"overlap": 16}, "an overlap of 16 frames leaves no new frame in a window of 16", "`--context-overlap 4`"),
        ({"length": 8, "overlap": 9}, "window of 8", "`--context-overlap 2`"),
        ({"loop": True, "overlap": 12, "num_frames": 10}, "window of 10", "`--context-overlap 2`"),
        ({"loop": True, "schedule": "static"}, "`--context-schedule static` do not", "`--context-schedule looped`"),
        ({"loop": True, "schedule": "uniform"}, "`--context-schedule uniform` do not", "`--context-schedule looped`"),
        ({"schedule": "batched", "overlap": 2}, "do not overlap", "static"),
        ({"stride": 2}, "have no stride", "uniform"),
        ({"fuse": "relative", "schedule": "looped"}, "for static windows, not for looped", "pyramid"),
    ],
)
@pytest.mark.parametrize("num_frames", [16, 64])
def test_settings_that_contradict_each_other(settings, message, hint, num_frames):
    with pytest.raises(UsageError, match=message) as caught:
        plan(**{"num_frames": num_frames, **settings})
    assert hint in caught.value.hint
