"""What the pocket study counts as right, and what it makes of single readings."""

import pytest

from tools.pocket.study.figures import is_right, mean
from tools.pocket.study.settings import SHOTS

STILL = {"pan": 0.0, "tilt": 0.0, "roll": 0.0, "zoom": 1.0, "width": 128}

#: a move of each shot that can be noticed
MOVES = {
    "zoom-in": {"zoom": 1.02},
    "zoom-out": {"zoom": 0.98},
    "pan-left": {"pan": -2.0},
    "pan-right": {"pan": 2.0},
    "tilt-up": {"tilt": 2.0},
    "tilt-down": {"tilt": -2.0},
    "roll-cw": {"roll": 1.0},
    "roll-ccw": {"roll": -1.0},
}


@pytest.mark.parametrize("shot", SHOTS)
def test_each_shot_is_told_from_every_other_and_from_none(shot):
    seen = {other: is_right(STILL | move, [shot]) for other, move in MOVES.items()}
    assert seen == {other: other == shot for other in SHOTS}
    assert not is_right(STILL, [shot])


def test_a_move_too_small_to_notice_is_not_right():
    assert not is_right(STILL | {"pan": 0.3}, ["pan-right"])
    assert is_right(STILL | {"pan": 0.33}, ["pan-right"])


def test_a_pan_with_a_larger_roll_is_not_right():
    assert not is_right(STILL | {"pan": 0.64, "roll": 0.4}, ["pan-right"])


def test_two_shots_at_once_want_both_moves():
    both = ["pan-right", "tilt-up"]
    assert is_right(STILL | {"pan": 2.0, "tilt": 1.0}, both)
    assert not is_right(STILL | {"pan": 2.0}, both)
    assert not is_right(STILL | {"pan": 2.0, "tilt": 1.0, "zoom": 1.02}, both)


def test_a_camera_that_was_lost_is_not_right():
    assert not is_right(dict.fromkeys(STILL), ["pan-right"])


def test_a_mean_of_nothing_is_none_and_of_one_value_has_no_interval():
    assert mean([]) is None
    assert mean([0.5]).as_json() == {"mean": 0.5, "of": 1, "interval_95": None}
    low, high = mean([0.0, 1.0, 0.0, 1.0]).interval()
    assert low < 0.5 < high
