import json

import numpy as np
import pytest

from tools.pocket.__main__ import main as dispatch
from tools.pocket.calibrate import constancy_trials
from tools.pocket.classify import Classifier, is_constant, measure_accuracy, read, train
from tools.pocket.labelled import draw_labelled
from tools.pocket.measure import measure, motion_table
from tools.pocket.report import Share, markdown, share, total
from tools.pocket.world import COLOURS, OBJECTS, PLACES, random_scene, render


def perfect_model(prompt, seed, *, motion, num_frames=16):
    """Stand in for a model that draws what it is asked for and, with motion, moves it by its law."""
    kind = next(kind for kind in OBJECTS if kind in prompt.replace(",", "").split())
    colour = next(colour for colour in COLOURS if f"{colour} {kind}" in prompt)
    place = next(place for place in PLACES if place in prompt)
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, kind=kind, colour=colour, place=place) for _ in range(num_frames)]
    if motion:
        return render(scenes[0], num_frames=num_frames)
    return np.concatenate([render(scene, num_frames=1, first_frame=frame) for frame, scene in enumerate(scenes)])


@pytest.fixture(scope="module")
def classifier():
    return train(draw_labelled(90, np.random.default_rng(0)), lambda message: None, epochs=4)


def test_a_classifier_trained_for_seconds_beats_chance_by_far(classifier):
    accuracy = measure_accuracy(classifier, draw_labelled(15, np.random.default_rng(1)))
    assert accuracy.place > 0.5 > 1 / len(PLACES)
    assert accuracy.images == 60


def test_reading_the_same_image_gives_the_same_words(classifier):
    image = render(random_scene(np.random.default_rng(0)), num_frames=1)
    assert read(classifier, image) == read(classifier, image)


def test_a_clip_of_one_repeated_frame_is_constant(classifier):
    frame = render(random_scene(np.random.default_rng(0)), num_frames=1)
    assert is_constant(classifier, np.repeat(frame, 16, axis=0))


def test_constancy_is_tried_on_clips_that_change(classifier):
    tried = constancy_trials(3, classifier, np.random.default_rng(0))
    assert set(tried) == {"true", "true, degraded", "object changes", "colour changes"}
    assert all(one.of == 3 for one in tried.values())


def test_a_model_that_moves_by_the_laws_gets_full_marks_and_none_without_motion():
    found = measure(perfect_model, Classifier().eval(), stills=3, clips=1, seed=1)
    assert found["motion"]["all"]["obeys"]["share"] == 1
    assert found["motion"]["all"]["obeys_without"]["share"] == 0
    assert found["motion"]["rocket"]["obeys"]["of"] == 1
    assert found["stills"]["object"]["of"] == 3
    json.dumps(found)


def test_an_unknown_command_names_the_ones_there_are(capsys):
    assert dispatch(["dance"]) == 2
    assert "train|refine|measure|encoder" in capsys.readouterr().err


def test_intervals_are_those_of_wilson():
    low, high = Share(81, 263).interval()
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert Share(0, 10).interval()[0] == 0
    assert Share(0, 0).interval() == (0, 1)


def test_shares_add_up_by_their_counts():
    assert total([share([True, False]), share([True])]) == Share(2, 3)


def test_tables_are_markdown():
    assert markdown(("a", "b"), [(1, 2)]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    assert motion_table({}).splitlines()[-1].startswith("| target |")
