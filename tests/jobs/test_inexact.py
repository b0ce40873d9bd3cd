"""Settings that save time by other frames: `cache` and `guidance_until`."""

import numpy as np
import pytest

from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.render import load_planned
from animdiff_cli.jobs.render_plan import plan_renders


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
