"""Frame times: the rounding is carried, so clips keep their length."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.timing import carried_ticks, check_fps, durations_ms, frame_rate, gif_delays
from animdiff_cli.errors import UsageError

COUNTS = st.integers(1, 300)
RATES = st.floats(0.01, 50)


def test_eight_frames_per_second_alternate_between_twelve_and_thirteen_centiseconds():
    assert gif_delays(16, fps=8) == [12, 13, 13, 12] * 4


@given(COUNTS, RATES)
def test_every_frame_starts_within_half_a_tick_of_its_true_time(num_frames, fps):
    starts = [0]
    for ticks in carried_ticks(num_frames, fps, 100):
        starts.append(starts[-1] + ticks)
    assert all(abs(start - 100 * frame / fps) <= 0.5 + 1e-9 for frame, start in enumerate(starts))


@given(COUNTS, RATES)
def test_no_gif_frame_is_so_short_that_players_slow_it_down(num_frames, fps):
    assert min(gif_delays(num_frames, fps)) >= 2


@given(st.floats(1 / 600, 50))
def test_no_gif_frame_is_longer_than_its_sixteen_bits(fps):
    assert max(gif_delays(3, fps)) <= 0xFFFF


def test_milliseconds_add_up_to_the_whole_clip():
    assert sum(durations_ms(24, fps=24)) == 1000
    assert sum(durations_ms(30, fps=29.97)) == 1001


@pytest.mark.parametrize("fps", [50.01, 60, 120])
def test_a_gif_above_fifty_frames_per_second_is_refused_with_a_way_out(fps):
    with pytest.raises(UsageError, match="50 frames per second") as refusal:
        gif_delays(16, fps)
    assert "--format mp4" in refusal.value.hint
    check_fps(fps, "mp4")


@pytest.mark.parametrize("fps", [0.0, 0.001, -8.0, float("inf"), float("nan")])
def test_a_rate_that_no_file_can_store_is_refused(fps):
    with pytest.raises(UsageError, match="cannot be stored"):
        check_fps(fps, "webm")


@pytest.mark.parametrize("rate", [Fraction(8), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25, 2)])
def test_broadcast_rates_survive_their_way_through_a_float(rate):
    assert frame_rate(float(rate)) == rate
