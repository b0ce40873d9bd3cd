import numpy as np
import pytest

from tools.pocket.renders import ClipRenderer


@pytest.fixture
def studio(toy_model, toy_motion_file, tmp_path):
    flags = {"model": str(toy_model), "motion_module": str(toy_motion_file), "width": 32, "height": 32, "steps": 1}
    return ClipRenderer(flags, "cpu", tmp_path / "kept")


def test_a_clip_that_was_rendered_before_is_read_back(studio):
    first = studio("a red ball", 3, motion=True, num_frames=2)
    (kept,) = studio.kept.iterdir()
    np.savez_compressed(kept, frames=first // 2)
    assert first.shape == (2, 32, 32, 3)
    assert np.array_equal(studio("a red ball", 3, motion=True, num_frames=2), first // 2)


def test_seed_prompt_and_motion_each_make_another_clip(studio):
    studio("a red ball", 3, motion=True, num_frames=2)
    studio("a red ball", 4, motion=True, num_frames=2)
    studio("a blue ball", 3, motion=True, num_frames=2)
    studio("a red ball", 3, motion=False, num_frames=2)
    assert len(list(studio.kept.iterdir())) == 4


def test_the_report_can_say_which_weights_drew_the_clips(studio):
    with_motion, without = studio.settings(motion=True), studio.settings(motion=False)
    assert set(with_motion["weights"]) == {"model", "motion_module"}
    assert set(without["weights"]) == {"model"}
    assert "seed" not in with_motion["config"]
