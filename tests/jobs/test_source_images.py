"""`images`: a picture stays at its frame, and the others are led to it by the motion module."""

import numpy as np
import pytest
import torch
from PIL import Image

from animdiff_cli import generate
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.source_images import _frames_of, _mixed
from animdiff_cli.metrics.temporal import difference


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of one colour; returns their paths."""
    paths = []
    for name, colour in (("a", (250, 20, 20)), ("b", (20, 250, 20)), ("c", (20, 20, 250))):
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (80, 72), colour).save(paths[-1])
    return paths


def config(*images, **settings):
    return GenerateConfig(prompt="a", model="toy", seed=1, motion_module="mm", images=images, **settings)


@pytest.mark.parametrize(
    ("images", "frames"),
    [
        (("a.png",), [0]),
        (("a.png", "b.png"), [0, 15]),
        (("a.png", "b.png", "c.png"), [0, 8, 15]),
        (("a.png@-1",), [15]),
        (("a.png@1s", "b.png@25%"), [8, 4]),
    ],
)
def test_pictures_are_at_their_positions_or_spread_over_the_clip(images, frames):
    assert _frames_of(config(*images)) == frames


def test_frames_begin_from_a_mix_of_the_pictures_around_them():
    latents = torch.tensor([10.0, 20.0]).view(1, 1, 2, 1, 1)
    assert _mixed(latents, [1, 3], 6, loop=False).flatten().tolist() == [10, 10, 15, 20, 20, 20]
    assert _mixed(latents, [0, 3], 6, loop=True).flatten().tolist() == pytest.approx(
        [10, 40 / 3, 50 / 3, 20, 50 / 3, 40 / 3]
    )


def test_a_picture_stays_at_its_frame_whatever_the_seed(pictures, small):
    settings = small | {"prompt": "a fox", "num_frames": 4, "steps": 2, "guidance_scale": 1}
    images = [pictures[0], {"source": pictures[1], "frames": "-1"}]
    clips = [generate(images=images, **settings | {"seed": seed}) for seed in (1, 2)]
    first, other = (clip.frames for clip in clips)
    assert np.array_equal(first[[0, 3]], other[[0, 3]]) and not np.array_equal(first[1:3], other[1:3])
    assert clips[0].recipe["config"]["images"] == ["a.png", "b.png@-1"]
    assert len(clips[0].recipe["inputs"]["images"]) == 2
    elsewhere = generate(images=[pictures[2], images[1]], **settings).frames
    assert np.array_equal(elsewhere[3], first[3]) and not np.array_equal(elsewhere[1], first[1])


@pytest.mark.parametrize(
    ("images", "changes", "error", "message"),
    [
        (["a.png@99"], {}, UsageError, "no frame 99"),
        (["a.png@0-3"], {}, UsageError, "names several frames"),
        (["a.png@3", "b.png@3"], {}, UsageError, "two pictures are at frame 3"),
        (["missing.png"], {}, NotFound, "no picture or video"),
        ([""], {}, UsageError, "is not one picture"),
        (["a.png"], {"motion_module": None}, UsageError, "needs a motion module"),
        (["a.png"], {"video": "b.png"}, UsageError, "cannot be combined"),
        (["a.png"], {"invert": True}, UsageError, "cannot be combined"),
        (["a.png"], {"free_init": 2}, UsageError, "`--image` and `--free-init` cannot be combined"),
        (["a.png"], {"scheduler": "pndm"}, UsageError, "cannot begin between its steps"),
    ],
)
def test_what_does_not_fit_is_refused(pictures, small, images, changes, error, message):
    folder = pictures[0].parent
    if "video" in changes:
        changes = {"video": folder / changes["video"]}
    with pytest.raises(error, match=message):
        generate("a fox", images=[f"{folder}/{one}" for one in images], **small | {"num_frames": 4} | changes)


@pytest.mark.full
def test_the_pocket_model_leads_on_from_a_picture(tmp_path):
    settings = {"model": "pocket", "prompt": "a red rocket in the night sky", "dtype": "fp32", "num_frames": 8}
    first = generate(seed=7, steps=8, **settings).frames[0]
    Image.fromarray(first).save(tmp_path / "first.png")
    led = generate(images=[tmp_path / "first.png"], image_method="blend", seed=5, steps=8, **settings).frames
    alone = generate(seed=5, steps=8, **settings).frames
    assert difference(led[0], first) < 0.2 * difference(alone[0], first)
    assert difference(led[7], first) < difference(alone[7], first)
    assert difference(led[7], led[0]) > 0
