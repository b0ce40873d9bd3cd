"""Folders of frames: exact pixels, a recipe, and replacement only if it is safe."""

import json

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.errors import UsageError
from animdiff_cli.outputs import write_clip


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_contains_numbered_frames_and_the_recipe(tmp_path, make_clip):
    clip = make_clip(3)
    folder = write_clip(clip, 8, tmp_path / "fox", "frames", {"seed": 7})
    assert names(folder) == ["00000.png", "00001.png", "00002.png", "recipe.json"]
    assert json.loads((folder / "recipe.json").read_text()) == {"animdiff": 1, "seed": 7}
    for index, frame in enumerate(clip):
        assert np.array_equal(np.asarray(Image.open(folder / f"{index:05d}.png")), frame)


def test_writing_is_deterministic(tmp_path, make_clip):
    first, second = (write_clip(make_clip(2), 8, tmp_path / name, "frames", {"seed": 7}) for name in "ab")
    assert [(first / name).read_bytes() for name in names(first)] == [
        (second / name).read_bytes() for name in names(second)
    ]


def test_an_existing_folder_is_not_changed(tmp_path, make_clip):
    write_clip(make_clip(3), 8, tmp_path / "fox-v1.5", "frames", {})
    assert write_clip(make_clip(2), 8, tmp_path / "fox-v1.5", "frames", {}) == tmp_path / "fox-v1.5-2"
    assert len(names(tmp_path / "fox-v1.5")) == 4


def test_overwriting_removes_all_frames_of_the_old_clip(tmp_path, make_clip):
    write_clip(make_clip(5), 8, tmp_path / "fox", "frames", {})
    write_clip(make_clip(2), 8, tmp_path / "fox", "frames", {}, overwrite=True)
    assert names(tmp_path / "fox") == ["00000.png", "00001.png", "recipe.json"]
    assert names(tmp_path) == ["fox"]


@pytest.mark.parametrize("other", ["thesis.tex", "00000.png/deep.txt"])
def test_a_folder_with_other_files_is_never_replaced(other, tmp_path, make_clip):
    kept = tmp_path / "home" / other
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    with pytest.raises(UsageError, match="contains more than frames"):
        write_clip(make_clip(), 8, tmp_path / "home", "frames", {}, overwrite=True)
    assert kept.read_text() == "years of work"
    assert names(tmp_path) == ["home"]
