"""Frame durations are rounded without drift, so clips keep their length."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.timing import check_fps, durations_ms, frame_rate, frame_ticks, gif_delays
from animdiff_cli.errors import UsageError

COUNTS = st.integers(1, 300)
RATES = st.floats(0.01, 50)


def test_8_fps_alternates_between_12_and_13_centiseconds():
    assert gif_delays(16, fps=8) == [12, 13, 13, 12] * 4


@given(COUNTS, RATES)
def test_every_frame_starts_within_half_a_tick_of_its_exact_time(num_frames, fps):
    starts = [0]
    for ticks in frame_ticks(num_frames, fps, 100):
        starts.append(starts[-1] + ticks)
    assert all(abs(start - 100 * frame / fps) <= 0.5 + 1e-9 for frame, start in enumerate(starts))


@given(COUNTS, RATES)
def test_gif_delays_are_long_enough_for_players(num_frames, fps):
    assert min(gif_delays(num_frames, fps)) >= 2


@given(st.floats(1 / 600, 50))
def test_gif_delays_fit_in_16_bits(fps):
    assert max(gif_delays(3, fps)) <= 0xFFFF


def test_durations_add_up_to_the_clip_length():
    assert sum(durations_ms(24, fps=24)) == 1000
    assert sum(durations_ms(30, fps=29.97)) == 1001


@pytest.mark.parametrize("fps", [50.01, 60, 120])
def test_a_gif_above_50_fps_is_refused_with_a_hint(fps):
    with pytest.raises(UsageError, match="50 frames per second") as refusal:
        gif_delays(16, fps)
    assert "--format mp4" in refusal.value.hint
    check_fps(fps, "mp4")


@pytest.mark.parametrize("fps", [0.0, 0.001, -8.0, float("inf"), float("nan")])
def test_an_invalid_frame_rate_is_refused(fps):
    with pytest.raises(UsageError, match="cannot be stored"):
        check_fps(fps, "webm")


@pytest.mark.parametrize("rate", [Fraction(8), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25, 2)])
def test_broadcast_rates_are_recovered_from_floats(rate):
    assert frame_rate(float(rate)) == rate
