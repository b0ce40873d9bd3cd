"""The Python API: what the command does, from a script."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import animdiff_cli
from animdiff_cli import AnimdiffError, Clip, generate
from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import FramesDecoded, Loading, Note, StepDone, Written
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.output_paths import choose_output_paths
from animdiff_cli.jobs.render import render, render_to_files
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.outputs import read_recipe


@pytest.fixture
def small(toy_model, toy_motion_file):
    return {
        "model": toy_model,
        "motion_module": toy_motion_file,
        "steps": 2,
        "num_frames": 3,
        "width": 64,
        "height": 72,
        "dtype": "fp32",
    }


def test_importing_the_package_does_not_import_torch():
    code = "import sys, animdiff_cli; dir(animdiff_cli); print('torch' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_every_public_name_is_there():
    for name in animdiff_cli.__all__:
        assert getattr(animdiff_cli, name) is not None
        assert name in dir(animdiff_cli)
    with pytest.raises(AttributeError, match="no attribute 'genreate'"):
        animdiff_cli.genreate  # noqa: B018


def test_frames_are_bytes_of_rgb(small):
    clip = generate("a fox", seed=1, **small)
    assert isinstance(clip, Clip)
    assert (clip.frames.dtype, clip.frames.shape) == (np.uint8, (3, 72, 64, 3))
    assert clip.frames.std() > 1
    assert (clip.frames[0] != clip.frames[1]).any()


def test_a_clip_saves_itself_in_any_format(small, tmp_path):
    clip = generate("a fox", seed=1, fps=5, **small)
    assert clip.save(tmp_path / "fox.gif") == tmp_path / "fox.gif"
    assert clip.save(str(tmp_path / "fox.gif")) == tmp_path / "fox-2.gif"
    assert clip.save(tmp_path / "fox.gif", overwrite=True) == tmp_path / "fox.gif"
    folder = clip.save(tmp_path / "fox")
    assert (np.asarray(Image.open(folder / "00002.png")) == clip.frames[2]).all()
    assert read_recipe(folder)["config"]["fps"] == 5
    with pytest.raises(UsageError, match="no format ends in"):
        clip.save(tmp_path / "fox.avi")


def test_a_seed_decides_the_clip(small):
    once, again, other = (generate("a fox", seed=seed, **small).frames for seed in (1, 1, 2))
    assert (once == again).all()
    assert (once != other).any()


@pytest.mark.parametrize(
    "changed",
    [
        {"guidance_scale": 3.0},
        {"guidance_scale": "steps:0:7.5,1:1"},
        {"motion_scale": 0.5},
        {"motion_scale": {0: 1, "100%": 2}},
        {"negative_prompt": "blur"},
        {"clip_skip": 1},
    ],
)
def test_every_setting_changes_the_frames(small, changed):
    plain = generate("a fox", seed=1, **small).frames
    assert (generate("a fox", seed=1, **small, **changed).frames != plain).any()


def test_the_prompt_changes_the_frames(small):
    assert (generate("a fox", seed=1, **small).frames != generate("a fish", seed=1, **small).frames).any()


def test_with_guidance_off_the_negative_prompt_is_not_even_read(small):
    off = {"guidance_scale": 1.0, **small}
    frames = [generate("a fox", seed=1, negative_prompt=text, **off).frames for text in ("", "blur")]
    assert (frames[0] == frames[1]).all()


def test_stills_do_not_need_a_motion_module(small):
    clip = generate("a fox", seed=1, **small | {"motion_module": None})
    assert clip.recipe["config"]["motion_module"] is None


def test_stills_take_no_motion_scale(small):
    with pytest.raises(UsageError, match="a motion scale has no effect on still frames") as refusal:
        generate("a fox", **small | {"motion_module": None, "motion_scale": 2})
    assert refusal.value.hint == "leave out `--motion-scale`, or `--no-motion`"


def test_a_recipe_has_a_motion_scale_only_if_it_is_not_one(small):
    assert "motion_scale" not in generate("a fox", seed=1, **small).recipe["config"]
    clip = generate("a fox", seed=1, **small | {"motion_scale": "0:0,100%:2"})
    assert clip.recipe["config"]["motion_scale"] == {"0": 0.0, "100%": 2.0}


def test_the_recipe_says_what_auto_came_to(small):
    config = generate("a fox", seed=1, **small | {"dtype": "auto"}).recipe["config"]
    assert config["dtype"] in ("fp32", "fp16", "bf16")
    assert config["beta_schedule"] == "linear"
    stills = generate("a fox", seed=1, **small | {"motion_module": None}).recipe["config"]
    assert stills["beta_schedule"] == "scaled_linear"


def test_a_watcher_sees_every_stage_in_order(small):
    events = []
    generate("a fox", emit=events.append, **small)
    assert [type(event) for event in events] == [Loading, Loading, Note, StepDone, StepDone, FramesDecoded]
    assert events[2].message.endswith("drawn at random")


def test_mistakes_are_told_in_the_words_of_the_caller(small):
    with pytest.raises(UsageError, match="keyword argument: unknown key `stepz`") as caught:
        generate("a fox", stepz=3, **small)
    assert caught.value.hint == "did you mean `steps`?"
    with pytest.raises(NotFound) as missing:
        generate("a fox", **small | {"model": "tonyou"})
    assert isinstance(missing.value, AnimdiffError) and "toonyou" in missing.value.hint
    with pytest.raises(UsageError, match="width"):
        generate("a fox", **small | {"width": 65})


@pytest.fixture
def layers(small):
    """The settings of `small` as they are typed."""
    return [
        Layer("test", {key: str(value) if key in ("model", "motion_module") else value for key, value in small.items()})
    ]


def test_a_plan_is_rendered_to_files_with_the_notes_of_each_clip(layers, tmp_path):
    plan = plan_renders(layers, prompts=["a fox"], repeat=2)
    outputs = choose_output_paths(plan.configs, f"{tmp_path}/{{index}}", ["gif", "apng"])
    events = []
    clips = list(render_to_files(plan, outputs, events.append))
    assert [list(clip.files) for clip in clips] == [["gif", "apng"]] * 2
    for clip, config in zip(clips, plan.configs, strict=True):
        assert all(path.is_file() for path in clip.files.values())
        assert clip.recipe["config"]["seed"] == config.seed
        assert clip.notes == (f"seed {config.seed}, drawn at random",) and clip.seconds > 0
    assert len([event for event in events if isinstance(event, Written)]) == 4


def test_one_plan_renders_each_clip_as_it_would_alone(small, layers):
    plan = plan_renders(layers, prompts=["a fox", "a fish"], seeds=[1, 2])
    together = [clip.frames for clip in render(plan)]
    alone = [generate(config.prompt, seed=config.seed, **small).frames for config in plan.configs]
    assert len(together) == 4
    for one, other in zip(together, alone, strict=True):
        assert (one == other).all()
