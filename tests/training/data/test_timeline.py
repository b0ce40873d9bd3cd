"""Which frames make a clip: evenly spaced in time, within one scene, or a reason why not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.training.data.timeline import Pace, Timeline, clip_frames, clip_starts, why_unusable


def steady(frames, rate=25.0, cuts=()):
    return Timeline(64, 48, tuple(index / rate for index in range(frames)), cuts)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 8), st.sampled_from([8.0, 23.976, 25.0, 30.0, 59.94]))
def test_without_resampling_every_stride_th_frame_is_taken(frames, num_frames, stride, rate):
    timeline, pace = steady(frames, rate), Pace(num_frames, stride)
    span = (num_frames - 1) * stride
    # a single frame may be shown as often as one likes; it is no video
    expected = list(range(max(frames - span, 0))) if frames > 1 else [0]
    assert clip_starts(timeline, pace) == expected
    for start in expected[:1] + expected[-1:]:
        taken = clip_frames(timeline, pace, start)
        assert taken == ([start + stride * index for index in range(num_frames)] if frames > 1 else [0] * num_frames)


@st.composite
def uneven(draw):
    gaps = draw(st.lists(st.floats(0.01, 0.2), min_size=10, max_size=120))
    times = [0.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    cuts = draw(st.sets(st.integers(1, len(times) - 1), max_size=4))
    return Timeline(64, 48, tuple(times), tuple(sorted(cuts)))


@given(uneven(), st.integers(1, 12), st.integers(1, 4), st.none() | st.floats(2, 30))
def test_no_clip_crosses_a_cut_or_leaves_the_video(timeline, num_frames, stride, fps):
    pace = Pace(num_frames, stride, fps)
    for start in clip_starts(timeline, pace):
        taken = clip_frames(timeline, pace, start)
        assert taken[0] == start
        assert all(before <= after for before, after in pairwise(taken))
        assert not any(taken[0] < cut <= taken[-1] for cut in timeline.cuts)


@given(uneven(), st.integers(2, 12), st.floats(2, 30))
def test_resampled_frames_are_the_nearest_to_their_moments(timeline, num_frames, fps):
    pace = Pace(num_frames, 1, fps)
    whole = Timeline(timeline.width, timeline.height, timeline.times)
    for start in clip_starts(whole, pace)[:3]:
        moments = [whole.times[start] + index / fps for index in range(num_frames)]
        for moment, taken in zip(moments, clip_frames(whole, pace, start), strict=True):
            assert abs(whole.times[taken] - moment) == pytest.approx(min(abs(time - moment) for time in whole.times))


def test_cuts_may_be_ignored():
    timeline, pace = steady(70, cuts=(35,)), Pace(16, 4)
    assert clip_starts(timeline, pace) == []
    assert clip_starts(timeline, pace, avoid_cuts=False) == list(range(10))


def test_a_short_video_is_told_what_would_take_it():
    assert why_unusable(steady(61), Pace(16, 4)) is None
    reason = why_unusable(steady(60), Pace(16, 4))
    assert reason == "too short: it has 60 frames, a clip of 16 takes 61 (`--stride 3` would do)"
    assert why_unusable(steady(60), Pace(16, 3)) is None


def test_a_video_in_short_scenes_is_told_so():
    reason = why_unusable(steady(90, cuts=(40,)), Pace(16, 4))
    assert "at most 50 frames between two cuts" in reason


def test_three_frames_are_too_few_for_any_stride():
    assert why_unusable(steady(3), Pace(16, 4)) == "too short: it has 3 frames, a clip of 16 takes 61"


def test_a_video_slower_than_its_clip_is_told_so():
    assert why_unusable(steady(60, rate=5), Pace(16, 1, fps=8)) == "has 5 frames per second, and a clip takes 8"
    assert why_unusable(steady(60, rate=8), Pace(16, 1, fps=8)) is None
