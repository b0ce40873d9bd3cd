"""Positions in a clip: frames, frames from the end, per cent, seconds, ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.where import Where, parse_range, parse_where
from animdiff_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("0", 0), ("15", 15), ("-1", 15), ("-16", 0), ("0%", 0), ("50%", 8), ("100%", 15), ("33.3%", 5), (".5%", 0),
        ("0s", 0), ("1.5s", 12), (".25s", 2), ("2s", 15), (" 7 ", 7),
    ],
)  # fmt: skip
def test_a_position_names_one_frame_of_a_clip(text, frame):
    assert parse_where(text).frame(num_frames=16, fps=8) == frame


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("16", "there is no frame 16: the clip has 16 frames, 0 to 15"),
        ("-17", "there is no frame -17"),
        ("101%", "`101%` is more than 100 per cent"),
        ("2.1s", "`2.1s` is after the end of the clip, which has 16 frames at 8 per second: 2 seconds"),
    ],
)
def test_a_frame_outside_of_the_clip_is_refused(text, message):
    with pytest.raises(UsageError) as refusal:
        parse_where(text).frame(num_frames=16, fps=8)
    assert message in str(refusal.value)
    assert refusal.value.hint == "use `100%` for the last frame"


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "1e3", "-5%", "-1s", "5 %", "nan", "inf", "%", "s", "1-2-3", "٣", "--1"]
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(UsageError, match="is not a position") as refusal:
        parse_where(text)
    assert "per cent `50%`" in refusal.value.hint


def test_a_range_is_two_positions_and_no_position():
    assert [str(where) for where in parse_range("25%-2s")] == ["25%", "2s"]
    with pytest.raises(UsageError, match="`0-12` is a range, and one position is needed"):
        parse_where("0-12")


def test_a_step_is_a_number_or_per_cent():
    assert [parse_where(text).step(20) for text in ("0", "5", "-1", "50%", "100%")] == [0, 5, 19, 10, 19]
    with pytest.raises(UsageError, match="there is no step 20: the sampler has 20 steps, 0 to 19"):
        parse_where("20").step(20)
    with pytest.raises(UsageError, match="`1s` is a time, and steps have none"):
        parse_where("1s").step(20)


@given(
    st.integers(-(10**9) + 1, 10**9 - 1).map(float) | st.floats(0, 1e6).map(lambda n: round(n, 6)),
    st.sampled_from("%s"),
)
def test_the_text_of_a_position_reads_as_the_same_position(number, unit):
    where = Where(number, "" if number.is_integer() else unit)
    if "e" not in str(where):
        assert parse_where(str(where)) == where
