"""Curves and tracks: what they are at every frame and step, and which keys are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.curves import Blend, Curve, Series, TextTrack, Track, is_curve_text, series
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.errors import UsageError

CLIP = Timeline(num_frames=5, fps=2, steps=4)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0:0,100%:1", [0, 0.25, 0.5, 0.75, 1]),
        ("1:4,3:0", [4, 4, 2, 0, 0]),
        ("0-2:1,-1:3", [1, 1, 1, 2, 3]),
        ("1s:7", [7, 7, 7, 7, 7]),
        ("steps:0:9,100%:3", [9, 7, 5, 3]),
        ("steps:1:2,2:-2", [2, 2, -2, -2]),
    ],
)
def test_a_curve_is_linear_between_its_keys_and_held_outside(text, values):
    assert Curve.parse(text).values(CLIP) == pytest.approx(values)


def test_in_a_loop_the_last_key_leads_into_the_first():
    loop = Timeline(num_frames=8, fps=8, steps=4, loop=True)
    assert Curve.parse("0:0,4:1").values(loop) == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    assert Curve.parse("2:0,4:1").values(loop) == pytest.approx([1 / 3, 1 / 6, 0, 0.5, 1, 5 / 6, 2 / 3, 0.5])
    assert Curve.parse("steps:0:0,3:3").values(loop) == [0, 1, 2, 3]
    assert Curve.parse("3:2").values(loop) == [2] * 8


@given(st.dictionaries(st.integers(0, 39), st.floats(-10, 10), min_size=1), st.booleans())
def test_a_curve_equals_numpy_interpolation(keys, loop):
    frames = sorted(keys)
    curve = Curve.of({str(frame): keys[frame] for frame in frames})
    values = curve.values(Timeline(num_frames=40, fps=8, steps=4, loop=loop))
    expected = np.interp(range(40), frames, [keys[frame] for frame in frames], period=40 if loop else None)
    assert values == pytest.approx(list(expected), abs=1e-9)


def test_a_track_of_texts_blends_the_texts_around_a_frame():
    track = TextTrack.of({"0-1": "day", "3": "night"})
    assert track.blends(CLIP) == [
        Blend("day", "day", 0), Blend("day", "night", 0), Blend("day", "night", 0.5), Blend("night", "night", 0),
        Blend("night", "night", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:1,0%:2", "`0` and `0%` are both frame 0"),
        ("0:1,-5:2", "`0` and `-5` are both frame 0"),
        ("50%:1,1:2", "`1` comes after `50%`, and is frame 1 before frame 2"),
        ("0-3:1,2:0", "`2` comes after `3`"),
        ("3-1:1", "`1` comes after `3`"),
        ("0:1,5:2", "there is no frame 5: the clip has 5 frames, 0 to 4"),
        ("steps:0:1,4:2", "there is no step 4"),
        ("steps:0:1,25%:2,1:5", "`25%` and `1` are both step 1"),
    ],
)
def test_keys_outside_of_the_clip_out_of_order_or_twice_are_refused(text, message):
    with pytest.raises(UsageError) as refusal:
        Curve.parse(text).check(CLIP)
    assert message in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:1,0:2", "the position `0` is given twice"),
        ("0:1,50%", "`50%` is not a position with a value"),
        ("0:1,", "`` is not a position with a value"),
        ("0:,1:2", "`0:` is not a position with a value"),
        ("a:1", "`a` is not a position"),
        ("steps5:1", "`steps5` is not a position"),
    ],
)
def test_text_that_is_no_curve_is_refused(text, message):
    with pytest.raises(UsageError) as refusal:
        Curve.parse(text)
    assert message in str(refusal.value)
    assert refusal.value.hint


def test_keys_of_one_track_are_all_frames_or_all_steps():
    with pytest.raises(UsageError, match="some keys are steps and some are frames"):
        Track.of({"0": 1, "steps 50%": 2})
    with pytest.raises(UsageError, match="no positions"):
        Track.of({})


@pytest.mark.parametrize("text", ["0:0.5,50%:1.0,-1:-2.0", "steps:0:9.0,50%:5.0"])
def test_a_curve_is_written_as_it_is_read(text):
    curve = Curve.parse(text)
    assert str(curve) == text
    assert Curve.of(curve.as_mapping()) == curve
    assert is_curve_text(text)


@pytest.mark.parametrize("text", ["7.5", "a fox: in snow", "", "1e3", "C:1"])
def test_other_text_is_no_curve(text):
    assert not is_curve_text(text)


def test_an_amount_is_one_number_where_all_frames_of_a_call_agree():
    assert series(2, CLIP) == Series((2.0,))
    over_frames = series(Curve.parse("0:0,2:1"), CLIP)
    assert [over_frames.at(window, 0) for window in ([0, 1], [2, 3, 4], [4, 0])] == [[0, 0.5], 1, [1, 0]]
    over_steps = series(Curve.parse("steps:0:1,100%:4"), CLIP)
    assert [over_steps.at([0, 1], step) for step in range(4)] == pytest.approx([1, 2, 3, 4])


@pytest.mark.parametrize("name", ["ddim", "heun", "pndm", "dpm++2m", "lcm"])
def test_every_call_of_a_sampler_belongs_to_a_step(name):
    """Samplers of second order call the UNet twice in most steps."""
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(10)
    calls = len(scheduler.timesteps)
    found = series(Curve.parse("steps:0:0,9:9"), Timeline(16, 8, 10, calls=calls)).values
    assert len(found) == calls
    assert sorted(set(found)) == pytest.approx(list(range(10)))
    assert list(found) == sorted(found)
