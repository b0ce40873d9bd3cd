"""Camera motion is recovered from clips with a known one."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.camera import CameraMotion, camera_motion
from tools.pocket.world import random_scene, render


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ({"right": -3}, "pan right 3.0 px"),
        ({"right": 2.5}, "pan left 2.5 px"),
        ({"down": 1.5}, "tilt up 1.5 px"),
        ({"down": -4}, "tilt down 4.0 px"),
        ({"scale": 1.02}, "zoom in 2.0 %"),
        ({"scale": 0.97}, "zoom out 3.0 %"),
        ({"turn": -2}, "roll cw 2.0°"),
        ({"turn": 1}, "roll ccw 1.0°"),
        ({}, "still"),
    ],
)
def test_each_camera_move_is_described(filmed, picture, words):
    assert str(camera_motion(filmed(3, **picture))) == words


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    right=st.floats(-5, 5),
    down=st.floats(-5, 5),
    turn=st.floats(-3, 3),
    scale=st.floats(0.96, 1.04),
    seed=st.integers(0, 5),
)
def test_pan_tilt_roll_and_zoom_are_measured_together(filmed, right, down, turn, scale, seed):
    motion = camera_motion(filmed(2, right=right, down=down, turn=turn, scale=scale, seed=seed))
    assert motion.pan == pytest.approx(-right, abs=0.05)
    assert motion.tilt == pytest.approx(down, abs=0.05)
    assert motion.roll == pytest.approx(-turn, abs=0.05)
    assert motion.zoom == pytest.approx(scale, abs=0.001)


def test_speed_and_direction_are_those_of_pan_and_tilt():
    motion = CameraMotion(pan=3, tilt=4, roll=0, zoom=1, agreement=1, width=100)
    assert motion.speed == 5
    assert motion.speed_share == 0.05
    assert motion.direction == pytest.approx(53.1301, abs=1e-4)
    assert CameraMotion(0, -1, 0, 1, 1, 100).direction == -90


def test_a_moving_object_is_not_mistaken_for_camera_motion(texture, filmed):
    clip = filmed(4, size=128, right=-2).copy()
    for frame in range(4):  # a third of the frame's width, going the other way
        left = 20 + 5 * frame
        clip[frame, 40:80, left : left + 42] = texture[150:190, 150:192]
    motion = camera_motion(clip)
    assert motion.pan == pytest.approx(2, abs=0.1)
    assert abs(motion.tilt) < 0.1
    assert motion.agreement < 0.95


@pytest.mark.parametrize("kind", ["rocket", "fish", "wheel", "star"])
def test_the_pocket_world_has_a_still_camera(kind):
    for seed in range(2):
        motion = camera_motion(render(random_scene(np.random.default_rng(seed), kind=kind), num_frames=6))
        assert motion.speed_share < 0.0025
        assert abs(motion.roll) < 0.15


def test_flicker_is_not_mistaken_for_motion(flickering):
    motion = camera_motion(flickering(12))
    assert str(motion) == "still"
    assert motion.agreement > 0.99


def test_motion_is_averaged_over_all_pairs_of_frames(filmed):
    fast, slow = filmed(2, right=-4), filmed(2, right=-1)
    assert camera_motion(np.concatenate([fast, fast[1:], fast[1:]])).pan == pytest.approx(4 / 3, abs=0.05)
    assert camera_motion(slow).pan == pytest.approx(1, abs=0.05)


def test_frames_without_detail_give_no_motion():
    assert camera_motion(np.full((3, 32, 32, 3), 128, np.uint8)) is None


def test_one_frame_is_refused():
    with pytest.raises(UsageError, match="cannot measure motion in one frame"):
        camera_motion(np.zeros((1, 32, 32, 3), np.uint8))


def test_results_are_deterministic(filmed):
    clip = filmed(3, right=1.3, turn=0.7)
    assert camera_motion(clip) == camera_motion(clip)
