"""`continue_from`: old frames keep their pixels, size and rate come from the clip, and the recipe finds it again."""

from itertools import pairwise

import numpy as np
import pytest

from animdiff_cli import generate, load
from animdiff_cli.core.events import Note
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.jobs.render import render
from animdiff_cli.jobs.render_plan import plan_from_recipe
from animdiff_cli.metrics.temporal import difference


@pytest.fixture
def before(small, tmp_path):
    """A clip of two frames at 6 frames per second, saved as MP4 and as a folder of frames."""
    clip = generate("a fox", **small | {"fps": 6})
    clip.save(tmp_path / "before.mp4")
    clip.save(tmp_path / "before")
    return clip.frames


@pytest.fixture
def settings(small):
    return {key: value for key, value in small.items() if key not in ("width", "height")} | {"seed": 2}


def test_the_result_is_the_old_pixels_and_the_new_frames(before, settings, tmp_path):
    folder = tmp_path / "before"
    joined = generate("a fox", continue_from=folder, **settings | {"num_frames": 3})
    assert joined.frames.shape == (5, 64, 64, 3)
    assert np.array_equal(joined.frames[:2], before)
    new = generate("a fox", continue_from=folder, continue_new_only=True, **settings | {"num_frames": 3})
    assert np.array_equal(new.frames, joined.frames[2:])
    alone = generate("a fox", width=64, height=64, **settings | {"num_frames": 5})
    assert not np.array_equal(alone.frames[2:], new.frames)


def test_the_recipe_has_the_name_and_hash_of_the_clip_and_its_size_and_rate(before, settings, tmp_path):
    recipe = generate("a fox", continue_from=tmp_path / "before.mp4", continue_frames=1, **settings).recipe
    config = recipe["config"]
    assert (config["continue_from"], config["continue_frames"], config["num_frames"]) == ("before.mp4", 1, 2)
    assert (config["width"], config["height"], config["fps"]) == (64, 64, 6)
    assert recipe["inputs"] == {"continue_from": {"before.mp4": sha256_of(tmp_path / "before.mp4")}}
    assert "inputs" not in generate("a fox", width=64, height=64, **settings).recipe


def test_a_recipe_is_rendered_again_from_the_clip_beside_it(before, settings, tmp_path, monkeypatch):
    clip = generate("a fox", continue_from=tmp_path / "before.mp4", **settings)
    clip.save(tmp_path / "joined.png")
    monkeypatch.chdir(tmp_path.parent)
    again = next(render(plan_from_recipe(tmp_path / "joined.png")))
    assert np.array_equal(again.frames, clip.frames) and again.recipe == clip.recipe
    generate("a fish", width=64, height=64, **settings).save(tmp_path / "before.mp4", overwrite=True)
    events = []
    next(render(plan_from_recipe(tmp_path / "joined.png"), events.append))
    notes = [event.message for event in events if isinstance(event, Note)]
    assert "before.mp4 is not the file that the clip was rendered with: frames will differ" in notes
    (tmp_path / "before.mp4").unlink()
    with pytest.raises(NotFound, match=r"no clip `before\.mp4` to continue"):
        plan_from_recipe(tmp_path / "joined.png")


def test_loaded_weights_continue_a_clip_in_its_size_and_rate(before, settings, tmp_path):
    clip = load(**settings, width=72, height=64).generate("a fox", continue_from=tmp_path / "before.mp4")
    assert [clip.recipe["config"][key] for key in ("width", "height", "fps")] == [64, 64, 6]
    assert np.array_equal(clip.frames, generate("a fox", continue_from=tmp_path / "before.mp4", **settings).frames)


def test_positions_count_from_the_first_new_frame(before, settings, tmp_path):
    """Frames without motion do not see each other, so each shows its own value of a curve or prompt alone."""
    settings |= {"continue_from": tmp_path / "before", "continue_new_only": True, "num_frames": 4, "guidance_scale": 50}
    still = generate("a fox", motion_scale=0, **settings).frames
    moved = generate("a fox", motion_scale={"2": 0, "3": 1}, **settings).frames
    told = generate({"0-2": "a fox", "3": "a fish"}, motion_scale=0, **settings).frames
    assert len(still) == 4
    for frames in (moved, told):
        levels = np.abs(frames.astype(int) - still).max((1, 2, 3))
        assert levels[:3].max() <= 1 and levels[3] > 8


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"continue_frames": 3}, "has 2 frames, not 3", "`--continue-frames 2`"),
        ({"continue_frames": 2, "context_length": 2}, "leave no new frame in a window of 2", "`--continue-frames 1`"),
        ({"width": 72}, "is 64x64 pixels, and 72x64 were asked for", "`--width 64 --height 64`"),
        ({"loop": True}, "cannot be combined", "leave one"),
        ({"motion_module": None}, "needs a motion module", "leave `--no-motion` out"),
        ({"continue_from": None, "continue_frames": 1}, "`--continue-frames` has no effect", "--continue-from CLIP"),
        ({"continue_from": None, "continue_new_only": True}, "`--continue-new-only` has no effect", "--continue-from"),
    ],
)
def test_what_cannot_be_continued_is_refused(before, settings, tmp_path, changes, message, hint):
    with pytest.raises(UsageError, match=message) as refusal:
        generate("a fox", **settings | {"continue_from": tmp_path / "before"} | changes)
    assert hint in refusal.value.hint


def test_a_clip_whose_sides_are_not_multiples_of_eight_is_refused(settings, tmp_path):
    from animdiff_cli.outputs import write_clip

    write_clip(np.zeros((2, 30, 32, 3), np.uint8), 8, tmp_path / "odd.gif", "gif", {})
    with pytest.raises(UsageError, match="32x30 pixels"):
        generate("a fox", continue_from=tmp_path / "odd.gif", **settings)
    with pytest.raises(NotFound, match="to continue"):
        generate("a fox", continue_from=tmp_path / "none.gif", **settings)


@pytest.mark.full
def test_the_pocket_model_goes_on_without_a_jump(tmp_path):
    settings = {"model": "pocket", "steps": 10, "dtype": "fp32"}
    before = generate("a pink heart in the snow", seed=1, **settings)
    folder = before.save(tmp_path / "heart")
    joined = generate("a pink heart in the snow", seed=2, continue_from=folder, **settings | {"num_frames": 8}).frames
    steps = [difference(one, other) for one, other in pairwise(joined)]
    assert steps[15] <= max(steps[:15])
