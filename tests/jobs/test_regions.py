"""`--region` from the flag to the recipe, and what is refused before weights load."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from animdiff_cli import generate
from animdiff_cli.cli import app
from animdiff_cli.config.input_settings import RegionEntry
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.outputs import read_recipe, write_clip


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A mask of the left half; returns its path."""
    path = tmp_path_factory.mktemp("masks") / "left.png"
    Image.fromarray(np.repeat(np.uint8([[255, 0]]), 32, axis=1).repeat(64, axis=0)).save(path)
    return path


@pytest.fixture
def settings(small):
    return small | {"num_frames": 3, "guidance_scale": 2, "motion_module": None}


def frames(**settings):
    return np.asarray(generate("a fox", **settings).frames)


def test_a_region_changes_the_clip_and_the_recipe_records_it(settings, left):
    clip = generate("a fox", regions=[f"{left}=a boat"], **settings)
    assert (np.asarray(clip.frames) != frames(**settings)).any()
    assert clip.recipe["config"]["regions"] == [f"{left.name}=a boat"]
    assert clip.recipe["inputs"] == {"regions": {"left.png": sha256_of(left)}}


def test_the_flag_renders_and_renders_again(settings, left, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "-p", "a fox", "--model", settings["model"], "--no-motion", "--steps", 1, "-L", 3, "-W", 64]
    words += ["-H", 64, "-s", 1, "-q", "--dtype", "fp32", "--region", f"{left}=a boat, 1=1"]
    words += ["--set", "regions.0.feather=4", "--set", "regions.0.weight=0:1,-1:0.5"]
    done = CliRunner().invoke(app, list(map(str, [*words, "-o", "clip.png"])))
    assert done.exit_code == 0, done.output
    entry = {"source": "left.png", "prompt": "a boat, 1=1", "weight": {"0": 1.0, "-1": 0.5}, "feather": 4.0}
    assert read_recipe(tmp_path / "clip.png")["config"]["regions"] == [entry]
    (tmp_path / "left.png").write_bytes(left.read_bytes())
    done = CliRunner().invoke(app, ["generate", "--from", "clip.png", "-o", "again.png", "-q"])
    assert done.exit_code == 0, done.output
    assert (np.asarray(Image.open("again.png")) == np.asarray(Image.open("clip.png"))).all()


def test_masks_move_with_their_video_and_are_for_their_frames(settings, tmp_path, left):
    """Without motion a frame is decided by its own mask."""
    masks = np.zeros((3, 64, 64, 3), np.uint8)
    masks[1, :, :32] = masks[2, :, 32:] = 255
    video = write_clip(masks, 8, tmp_path / "mask.png", "apng", {"config": {}})
    moving, still, none = (
        frames(**settings, **({"regions": [region]} if region else {}))
        for region in (f"{video}=a boat", f"{left}=a boat", None)
    )
    assert (moving[0] == none[0]).all() and (moving[1] == still[1]).all()
    assert (moving[2] != still[2]).any() and (moving[2] != none[2]).any()
    some = frames(regions=[{"source": str(left), "prompt": "a boat", "frames": "1"}], **settings)
    assert (some[[0, 2]] == none[[0, 2]]).all() and (some[1] == still[1]).all()


@pytest.mark.parametrize(
    ("region", "error", "text"),
    [
        ("{left}", UsageError, "does not name a mask and its prompt"),
        ("{left}= ", UsageError, "does not name a mask and its prompt"),
        ("missing.png=a boat", NotFound, "no picture or video `missing.png`"),
        ("{left}=a {{red|blue}} boat", UsageError, r"`{red\|blue}` is in the prompt of a region"),
        ("{left}=a (boat:99)", UsageError, "weight"),
        ({"source": "{left}", "prompt": ""}, UsageError, "prompt"),
        ({"source": "{left}", "prompt": {"9": "a boat"}}, UsageError, "9"),
        ({"source": "{left}", "prompt": "a boat", "weight": -1}, UsageError, "must be a number from 0"),
        ({"source": "{left}"}, UsageError, "has no `prompt`"),
        ({"source": "{left}", "prompt": "a boat", "section": "3-4"}, UsageError, "`3-4` of `.*`: there is no"),
    ],
)
def test_what_does_not_fit_is_refused(settings, left, region, error, text):
    given = region.format(left=left) if isinstance(region, str) else region | {"source": str(left)}
    with pytest.raises(error, match=text) as refusal:
        generate("a fox", regions=[given], **settings | {"model": "pocket", "width": 128, "height": 128})
    assert refusal.value.hint


def test_text_and_record_are_one_entry():
    assert RegionEntry.parse("https://a.b/m.png?x=1=a boat").source == "https://a.b/m.png?x=1"
    odd = RegionEntry(source="a=b.png", prompt="x")
    assert RegionEntry.read(odd.stored()) == odd
    assert RegionEntry.parse("a.png = b = c").stored() == "a.png=b = c"
