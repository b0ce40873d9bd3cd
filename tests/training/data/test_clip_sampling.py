"""Frames of a clip are evenly spaced in time and within one scene, or the video is refused with a reason."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.training.data.clip_sampling import FrameSpacing, clip_frames, clip_starts, why_unusable
from animdiff_cli.training.data.media import Timeline


def steady(frames, rate=25.0, cuts=()):
    return Timeline(64, 48, tuple(index / rate for index in range(frames)), cuts)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 8), st.sampled_from([8.0, 23.976, 25.0, 30.0, 59.94]))
def test_without_fps_every_stride_th_frame_is_used(frames, num_frames, stride, rate):
    timeline, spacing = steady(frames, rate), FrameSpacing(num_frames, stride)
    span = (num_frames - 1) * stride
    # a single frame is a still, which is repeated
    expected = list(range(max(frames - span, 0))) if frames > 1 else [0]
    assert clip_starts(timeline, spacing) == expected
    for start in expected[:1] + expected[-1:]:
        taken = clip_frames(timeline, spacing, start)
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
    spacing = FrameSpacing(num_frames, stride, fps)
    for start in clip_starts(timeline, spacing):
        taken = clip_frames(timeline, spacing, start)
        assert taken[0] == start
        assert all(before <= after for before, after in pairwise(taken))
        assert not any(taken[0] < cut <= taken[-1] for cut in timeline.cuts)


@given(uneven(), st.integers(2, 12), st.floats(2, 30))
def test_resampled_frames_are_the_nearest_in_time(timeline, num_frames, fps):
    spacing = FrameSpacing(num_frames, 1, fps)
    whole = Timeline(timeline.width, timeline.height, timeline.times)
    for start in clip_starts(whole, spacing)[:3]:
        wanted = [whole.times[start] + index / fps for index in range(num_frames)]
        for time_wanted, taken in zip(wanted, clip_frames(whole, spacing, start), strict=True):
            assert abs(whole.times[taken] - time_wanted) == pytest.approx(
                min(abs(time - time_wanted) for time in whole.times)
            )


def test_cuts_can_be_ignored():
    timeline, spacing = steady(70, cuts=(35,)), FrameSpacing(16, 4)
    assert clip_starts(timeline, spacing) == []
    assert clip_starts(timeline, spacing, avoid_cuts=False) == list(range(10))


def test_a_short_video_is_refused_with_a_stride_that_fits():
    assert why_unusable(steady(61), FrameSpacing(16, 4)) is None
    reason = why_unusable(steady(60), FrameSpacing(16, 4))
    assert reason == "too short: it has 60 frames, but a clip of 16 needs 61 (`--stride 3` fits)"
    assert why_unusable(steady(60), FrameSpacing(16, 3)) is None


def test_a_video_of_short_scenes_is_refused_with_the_reason():
    reason = why_unusable(steady(90, cuts=(40,)), FrameSpacing(16, 4))
    assert "at most 50 frames between two cuts" in reason


def test_no_stride_is_suggested_for_three_frames():
    assert why_unusable(steady(3), FrameSpacing(16, 4)) == "too short: it has 3 frames, but a clip of 16 needs 61"


def test_a_video_slower_than_fps_is_refused():
    assert why_unusable(steady(60, rate=5), FrameSpacing(16, 1, fps=8)) == "has 5 frames per second, but a clip needs 8"
    assert why_unusable(steady(60, rate=8), FrameSpacing(16, 1, fps=8)) is None
