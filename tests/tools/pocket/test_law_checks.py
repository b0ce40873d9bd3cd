from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tools.pocket.calibrate import TRIALS
from tools.pocket.law_checks import checks, obeys
from tools.pocket.track import track
from tools.pocket.world import OBJECTS, poses, random_scene, render


@cache
def clips_of(kind):
    """Draw two scenes of a kind and their clips."""
    rng = np.random.default_rng(5)
    return [(scene, render(scene)) for scene in (random_scene(rng, kind=kind) for _ in range(2))]


@pytest.mark.parametrize("kind", OBJECTS)
def test_the_worlds_own_clips_obey_sharp_and_degraded(kind):
    rng = np.random.default_rng(6)
    for scene, frames in clips_of(kind):
        assert obeys(frames, kind, scene.colour)
        assert obeys(TRIALS["true, degraded"](scene, frames, rng), kind, scene.colour)


@pytest.mark.parametrize("trial", ["shuffled", "independent", "frozen"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_frames_that_do_not_follow_each_other_obey_nothing(kind, trial):
    scene, frames = clips_of(kind)[0]
    assert not obeys(TRIALS[trial](scene, frames, np.random.default_rng(7)), kind, scene.colour)


@pytest.mark.parametrize("kind", ["rocket", "balloon", "leaf"])
def test_a_clip_played_backwards_breaks_a_law_that_has_a_direction(kind):
    for scene, frames in clips_of(kind):
        assert not obeys(frames[::-1], kind, scene.colour)


def test_an_object_of_another_colour_is_not_taken_for_the_one_asked_for():
    scene = random_scene(np.random.default_rng(1), kind="rocket", colour="blue")
    assert not obeys(render(scene), "rocket", "red")


def test_a_wheel_that_slides_without_turning_does_not_roll():
    scene = random_scene(np.random.default_rng(2), kind="wheel", colour="red")
    frames = render(scene)
    first, path = frames[0], list(poses(scene))
    slid = [np.roll(first, round((pose.x - path[0].x) * 128), axis=1) for pose in path]
    failed = {check.what for check in checks(np.stack(slid), "wheel", "red") if not check.holds}
    assert "turn over way on the rim" in failed


def test_a_heart_that_wanders_does_not_beat_in_place():
    scene = random_scene(np.random.default_rng(2), kind="heart")
    wandering = np.stack([np.roll(frame, 2 * step, axis=1) for step, frame in enumerate(render(scene))])
    assert not obeys(wandering, "heart", scene.colour)


def test_the_track_finds_the_object_within_two_pixels():
    scene = random_scene(np.random.default_rng(4), kind="ball", colour="blue", place="in the snow")
    seen = track(render(scene), "blue")
    drawn = np.array([(pose.x, pose.y) for pose in poses(scene)])
    assert np.abs(np.stack([seen.x, seen.y], axis=1) - drawn).max() < 2 / 128


def test_the_track_sees_a_wheel_turn_as_far_as_it_rolls():
    scene = replace(random_scene(np.random.default_rng(4), kind="wheel", colour="green"), heading=1)
    seen = track(render(scene), "green", rings=(0.55, 0.70, 0.85))
    drawn = np.diff([pose.angle for pose in poses(scene)])
    assert np.abs(seen.turn[1:] - drawn).max() < np.radians(2)


def test_a_clip_without_the_object_is_seen_to_lack_it():
    empty = np.full((16, 128, 128, 3), 200, dtype=np.uint8)
    assert not track(empty, "red").visible.any()
    assert not any(obeys(empty, kind, "red") for kind in OBJECTS)
