"""Long clips through the Python API: which windows are chosen, what is recorded and reported."""

import numpy as np
import pytest

from animdiff_cli import generate
from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.core.events import Note, WindowDone
from animdiff_cli.diffusion.windows import clip_windows
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.render_plan import plan_from_recipe, plan_renders

CONTEXT = ("context_length", "context_overlap", "context_stride", "context_schedule", "context_fuse", "context_mode")


@pytest.fixture
def small(toy_model, toy_motion_file):
    size = {"width": 16, "height": 16, "num_frames": 9, "steps": 2, "guidance_scale": 1.0, "dtype": "fp32"}
    return {"model": toy_model, "motion_module": toy_motion_file, "seed": 1, **size}


def test_a_clip_in_windows(small):
    """The recipe holds the windows that were chosen, so that it renders the same frames under other defaults."""
    events = []
    clip = generate("a fox", **small, context_length=4, context_mode="unet", emit=events.append)
    recorded = [clip.recipe["config"][key] for key in CONTEXT]
    assert recorded == [4, 1, 1, "static", "pyramid", "unet"]
    assert clip.frames.shape == (9, 16, 16, 3)
    message = "9 frames in windows of 4 frames, overlap 1, schedule static, fuse pyramid, mode unet"
    assert Note(message) in events
    done = [(event.step, event.done, event.windows, event.total) for event in events if isinstance(event, WindowDone)]
    assert done == [(step, window, 3, 2) for step in (1, 2) for window in (1, 2, 3)]
    again = generate("a fox", **{**small, **{key: clip.recipe["config"][key] for key in CONTEXT}})
    assert np.array_equal(again.frames, clip.frames)
    assert not np.array_equal(generate("a fox", **small).frames, clip.frames)


@pytest.mark.parametrize(("free", "mode"), [(2**40, "plug"), (2**12, "unet"), (None, "unet")])
def test_memory_decides_where_windows_are(small, free, mode, monkeypatch):
    monkeypatch.setattr("animdiff_cli.diffusion.windows.free_memory", lambda device: free)
    clip = generate("a fox", **small, context_length=4)
    assert clip.recipe["config"]["context_mode"] == mode
    assert np.array_equal(generate("a fox", **small, context_length=4, context_mode=mode).frames, clip.frames)


def test_windows_around_the_unet_and_inside_it_differ(small):
    """One window per clip is the same computation; overlapping windows are averaged once, or at every layer."""
    around, inside = (generate("a fox", **small, context_length=4, context_mode=mode) for mode in ("unet", "plug"))
    assert not np.array_equal(around.frames, inside.frames)
    assert np.abs(around.frames.astype(int) - inside.frames).mean() < 8
    # this model amplifies rounding to levels, and kernels are chosen by the sizes of tensors, which differ
    plain = {**small, "num_frames": 8, "context_length": 4, "context_schedule": "batched", "kernels": False}
    around, inside = (generate("a fox", **plain, context_mode=mode) for mode in ("unet", "plug"))
    assert np.abs(around.frames.astype(int) - inside.frames).mean() < 0.1


def test_a_clip_of_one_window_is_recorded_as_before(small):
    events = []
    clip = generate("a fox", **small, emit=events.append)
    assert not {*CONTEXT, "loop"} & clip.recipe["config"].keys()
    assert not any(isinstance(event, WindowDone | Note) for event in events)
    in_one = generate("a fox", **small, context_length=9, context_overlap=2, context_mode="unet")
    assert np.array_equal(in_one.frames, clip.frames)


def test_more_frames_than_positions_turn_windows_on(small):
    clip = generate("a fox", **{**small, "num_frames": 33, "steps": 1}, context_mode="unet")
    assert clip.recipe["config"]["context_length"] == 16
    assert len(clip.frames) == 33


def test_a_loop_wraps_its_windows(small):
    clip = generate("a fox", **small, loop=True, context_mode="unet")
    config = clip.recipe["config"]
    assert (config["loop"], config["context_schedule"], config["context_length"]) == (True, "looped", 9)
    assert not np.array_equal(clip.frames, generate("a fox", **small).frames)


def test_a_loop_of_one_frame_has_no_windows(small):
    clip = generate("a fox", **small | {"num_frames": 1, "guidance_scale": 2}, loop=True)
    assert not set(CONTEXT) & clip.recipe["config"].keys()


def test_a_length_that_is_given_is_recorded_as_given(small):
    """Also in a loop that is shorter: the same settings find the clip again."""
    config = generate("a fox", **small | {"steps": 1}, loop=True, context_length=12, context_mode="unet").recipe[
        "config"
    ]
    assert (config["context_length"], config["context_overlap"]) == (12, 2)


@pytest.mark.parametrize("settings", [{"context_length": 33}, {"loop": True, "context_schedule": "uniform"}])
def test_contradictions_are_found_before_weights_load(small, settings, monkeypatch):
    monkeypatch.setattr("animdiff_cli.jobs.render.load_animator", None)
    with pytest.raises(UsageError):
        generate("a fox", **small, **settings)


def test_a_recipe_becomes_a_loop_or_none_any_more(small, tmp_path):
    """The windows of the recipe are replaced by those that a loop needs, or by those of a clip without."""
    for loop, before, after in ((False, "static", "looped"), (True, "looped", "static")):
        clip = generate("a fox", **small, context_length=4, loop=loop)
        assert clip.recipe["config"]["context_schedule"] == before
        path = clip.save(tmp_path / f"{before}.png")
        plan = plan_from_recipe(path, [keyword_layer({"loop": not loop})])
        chosen = clip_windows(plan.configs[0], plan.weights.motion_spec)
        assert (chosen.schedule, chosen.length) == (after, 4)
        same = plan_from_recipe(path, [keyword_layer({"seed": 2})])
        assert same.configs[0].context_schedule == before


def test_windows_that_contradict_each_other_are_refused_before_a_download():
    wanted = {"model": "toonyou", "motion_module": "mm-v3", "prompt": "a fox", "loop": True}
    with pytest.raises(UsageError, match="needs windows that wrap") as refusal:
        plan_renders([keyword_layer({**wanted, "context_schedule": "static"})])
    assert "`--context-schedule looped`" in refusal.value.hint
