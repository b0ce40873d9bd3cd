import pickle
from dataclasses import replace

import numpy as np
import pytest

from tools.pocket.captions import caption
from tools.pocket.motion_laws import LAWS
from tools.pocket.styles import BASE_PALETTE
from tools.pocket.track import chroma_share
from tools.pocket.world import COLOURS, OBJECTS, PLACES, Scene, poses, random_scene, render


def test_the_world_has_twelve_objects_eight_colours_and_six_places():
    assert (len(set(OBJECTS)), len(set(COLOURS)), len(set(PLACES))) == (12, 8, 6)


def test_same_scene_is_drawn_the_same_to_the_last_bit():
    scene = random_scene(np.random.default_rng(3))
    assert np.array_equal(render(scene), render(pickle.loads(pickle.dumps(scene))))


def test_same_generator_seed_gives_the_same_scene():
    assert random_scene(np.random.default_rng(3)) == random_scene(np.random.default_rng(3))
    assert random_scene(np.random.default_rng(3)) != random_scene(np.random.default_rng(4))


@pytest.mark.parametrize(("num_frames", "size"), [(1, 128), (5, 64), (3, 96)])
def test_frames_come_in_the_size_and_number_asked_for(num_frames, size):
    frames = render(random_scene(np.random.default_rng(0)), num_frames=num_frames, size=size)
    assert frames.shape == (num_frames, size, size, 3)
    assert frames.dtype == np.uint8


def test_what_is_asked_for_is_what_is_drawn():
    scene = random_scene(np.random.default_rng(1), kind="bell", colour="pink", place="under the sea")
    assert (scene.kind, scene.colour, scene.place) == ("bell", "pink", "under the sea")


def test_doubling_the_frame_rate_shows_the_moments_in_between():
    scene = random_scene(np.random.default_rng(1), kind="leaf")
    usual, fine = render(scene, num_frames=3, fps=8), render(scene, num_frames=5, fps=16)
    assert np.array_equal(usual, fine[::2])


@pytest.mark.parametrize("kind", OBJECTS)
def test_camera_and_place_stand_still_where_the_object_is_not(kind):
    frames = render(random_scene(np.random.default_rng(2), kind=kind)).astype(int)
    corners = frames[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.ptp(corners, axis=0).max() == 0


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_stay_inside_the_frame_for_the_whole_clip(kind):
    rng = np.random.default_rng(7)
    for _ in range(40):
        for pose in poses(random_scene(rng, kind=kind)):
            assert 0.1 < pose.x < 0.9
            assert 0.1 < pose.y < 0.9


@pytest.mark.parametrize("kind", OBJECTS)
def test_no_place_hides_an_object_of_any_colour(kind):
    """More than 3 % of the frame is plainly in the colour of the object."""
    rng = np.random.default_rng(9)
    for colour in COLOURS:
        scene = random_scene(rng, kind=kind, colour=colour)
        share = chroma_share(render(scene, num_frames=1)[0], BASE_PALETTE[colour])
        assert (share > 0.5).mean() > 0.03


@pytest.mark.parametrize("place", PLACES)
def test_no_place_looks_like_the_colour_of_an_object(place):
    """A scene far outside the frame leaves the bare place."""
    for seed, colour in enumerate(COLOURS):
        away = replace(random_scene(np.random.default_rng(seed), kind="star", place=place), x=9.0)
        assert (chroma_share(render(away, num_frames=1)[0], BASE_PALETTE[colour]) > 0.5).mean() < 0.002


def test_every_kind_has_ranges_that_random_scenes_keep():
    rng = np.random.default_rng(11)
    for kind, law in LAWS.items():
        scene = random_scene(rng, kind=kind)
        assert law.x[0] <= scene.x <= law.x[1]
        assert law.size[0] <= scene.size <= law.size[1]


@pytest.mark.parametrize("seed", range(30))
def test_captions_name_the_colour_the_object_and_the_place(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    words = caption(scene, rng)
    assert f"{scene.colour} {scene.kind}" in words
    assert scene.place in words


def test_captions_say_it_in_many_ways_and_say_an_orange():
    rng = np.random.default_rng(0)
    scene = random_scene(rng, kind="boat", colour="orange", place="in the snow")
    said = {caption(scene, rng) for _ in range(200)}
    assert len(said) >= 10
    assert "an orange boat in the snow" in said
    assert not any("a orange" in words for words in said)


def test_scenes_cannot_be_changed():
    scene = random_scene(np.random.default_rng(0))
    with pytest.raises(AttributeError):
        scene.kind = "ball"
    assert isinstance(scene, Scene)
