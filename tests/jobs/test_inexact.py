"""Settings that save time by other frames: `cache` and `guidance_until`."""

from dataclasses import replace

import numpy as np
import pytest

from animdiff_cli.cli.render_output import comparison_lines
from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.compare_exact import exact, require_inexact
from animdiff_cli.jobs.evaluate import measured
from animdiff_cli.jobs.output_paths import choose_output_paths
from animdiff_cli.jobs.render import load_planned, render_to_files
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.jobs.render_stream import done_record
from animdiff_cli.metrics.full_reference import psnr, ssim


@pytest.fixture(scope="module")
def animator(small):
    return load_planned(plan_renders([keyword_layer({**small, "prompt": "a fox", "width": 16, "height": 16})]))


CLIPS = {
    "one window": {},
    "windows": {"num_frames": 7, "context_length": 4, "context_mode": "unet"},
    "windows inside": {"num_frames": 7, "context_length": 4, "context_mode": "plug"},
    "loop": {"num_frames": 8, "context_length": 4, "loop": True, "context_mode": "unet"},
    "texts": {"prompt": {"0": "a fox", "-1": "a boat"}, "negative_prompt": "blurry"},
    "curves": {"motion_scale": "0:0,-1:1", "guidance_scale": "steps:0:2,-1:6"},
}


@pytest.mark.parametrize("settings", CLIPS.values(), ids=CLIPS)
def test_every_kind_of_clip_can_do_less(animator, settings):
    """What does nothing less is equal to the bit; what does less has other frames, and says so in its recipe."""
    settings = {"prompt": "a fox", "seed": 3, "steps": 3, "num_frames": 4, **settings}
    exact = animator.generate(**settings)
    same = animator.generate(**settings, cache="deep:1", guidance_until=1)
    assert np.array_equal(exact.frames, same.frames)
    less = animator.generate(**settings, cache="deep:2", guidance_until=0.5)
    assert not np.array_equal(exact.frames, less.frames)
    assert (less.recipe["config"]["cache"], less.recipe["config"]["guidance_until"]) == ("deep:2", 0.5)
    assert not {"cache", "guidance_until"} & exact.recipe["config"].keys()


def test_a_share_of_guidance_without_guidance_is_refused(small):
    from animdiff_cli.config.load import flag_layer

    layers = [keyword_layer({**small, "prompt": "a fox", "guidance_scale": 1}), flag_layer({"guidance_until": 0.5})]
    with pytest.raises(UsageError, match="no effect at a guidance scale of 1"):
        plan_renders(layers)


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({"steps": 1, "cache": "deep:2"}, ["`cache: deep:2` has no effect on a single step"]),
        (
            {"steps": 4, "guidance_until": 0.8},
            ["`guidance_until: 0.8` has no effect: the last of 4 steps begins before it"],
        ),
        ({"steps": 4, "guidance_until": 0.75, "cache": "deep:5"}, []),
        ({"steps": 2, "guidance_until": 0.6, "scheduler": "heun"}, []),  # it has three calls
        ({"steps": 1}, []),
    ],
)
def test_what_leaves_nothing_out_is_said(small, settings, notes):
    plan = plan_renders([keyword_layer({**small, "prompt": "a fox", "width": 16, "height": 16, **settings})])
    assert [note for note in plan.notes if "no effect" in note] == notes


def test_a_comparison_is_with_the_exact_clip_of_the_same_seed(small, tmp_path):
    settings = {**small, "prompt": "a fox", "width": 16, "height": 16, "num_frames": 3, "steps": 2, "cache": "deep:2"}
    plan = replace(plan_renders([keyword_layer(settings)]), compare_exact=True)
    (finished,) = render_to_files(plan, choose_output_paths(plan.configs, str(tmp_path / "fox.gif"), []))
    record = done_record("1", finished).record()["comparison"]
    animator = load_planned(plan)
    clip, other = animator.render(plan.configs[0]).frames, animator.render(exact(plan.configs[0])).frames
    assert record["psnr"] == psnr(clip, other) and record["ssim"] == ssim(clip, other)
    assert (record["measures"], record["exact_measures"]) == (measured(clip), measured(other))
    assert min(record["seconds"], record["exact_seconds"]) >= 0
    assert [path.name for path in tmp_path.iterdir()] == ["fox.gif"]
    assert comparison_lines(finished.comparison, 1)[0].startswith("seed 1 against the exact clip: PSNR ")


def test_an_exact_clip_is_not_compared(small):
    plan = plan_renders([keyword_layer({**small, "prompt": "a fox", "guidance_scale": 1, "guidance_until": 0.5})])
    with pytest.raises(UsageError, match="neither `--cache` nor `--guidance-until`"):
        require_inexact(plan.configs[0])
