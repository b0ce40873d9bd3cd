"""Every format stores the recipe unchanged, and files without one are reported."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.outputs import NoRecipe, read_recipe, write_clip
from animdiff_cli.outputs.write import WRITERS

AWKWARD = 'a "fox" 🦊\nin the snow = cold; #1 \\ back\\\\slash \t naïve 日本語 \u2028 \x00 \x7f </x> \'; comment=no\\\n'
RECIPE = {"prompt": AWKWARD, "seed": 2**64 - 1, "fps": 0.1 + 0.2, "weights": {"a/b": None, "=": [1, True, ""]}}
IN_A_FILE = {"animdiff": 1, **RECIPE}

every_format = pytest.mark.parametrize("format", list(WRITERS))
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@every_format
def test_any_prompt_is_stored_exactly(format, tmp_path, make_clip):
    assert read_recipe(write_clip(make_clip(), 8, tmp_path / "clip", format, RECIPE)) == IN_A_FILE


@every_format
def test_a_recipe_of_several_hundred_kilobytes_is_stored_exactly(format, tmp_path, make_clip):
    long = {"prompts": [f"{AWKWARD} {index}" for index in range(3000)]}
    assert len(json.dumps(long)) > 300_000
    assert read_recipe(write_clip(make_clip(), 8, tmp_path / "clip", format, long)) == {"animdiff": 1, **long}


@every_format
def test_a_single_frame_stores_the_recipe(format, tmp_path, make_clip):
    assert read_recipe(write_clip(make_clip(1), 8, tmp_path / "clip", format, RECIPE)) == IN_A_FILE


def test_every_file_of_a_frames_folder_stores_the_recipe(tmp_path, make_clip):
    folder = write_clip(make_clip(2), 8, tmp_path / "clip", "frames", RECIPE)
    assert [read_recipe(file) for file in sorted(folder.iterdir())] == [IN_A_FILE] * 3


def test_the_version_is_the_first_key(tmp_path, make_clip):
    folder = write_clip(make_clip(1), 8, tmp_path / "clip", "frames", RECIPE)
    assert (folder / "recipe.json").read_text().startswith('{"animdiff": 1, "prompt"')


def test_the_format_is_detected_from_the_content(tmp_path, make_clip):
    clip = write_clip(make_clip(), 8, tmp_path / "clip.mp4", "mp4", RECIPE)
    assert read_recipe(clip.rename(tmp_path / "clip.gif")) == IN_A_FILE


@every_format
def test_a_truncated_file_never_crashes_the_reader(format, tmp_path, make_clip):
    whole = write_clip(make_clip(), 8, tmp_path / "clip", format, RECIPE)
    raw = (whole / "recipe.json" if whole.is_dir() else whole).read_bytes()
    cut = tmp_path / "cut"
    refused = 0
    for length in np.linspace(0, len(raw) - 1, 12).astype(int):
        cut.write_bytes(raw[:length])
        try:
            assert read_recipe(cut) == IN_A_FILE
        except AnimdiffError as error:
            assert error.hint
            refused += 1
    assert refused >= 2


@many
@given(data=st.data(), format=st.sampled_from(["gif", "webp", "apng"]))
def test_an_image_with_flipped_bytes_never_crashes_the_reader(data, format, tmp_path, make_clip):
    path = tmp_path / f"good-{format}"
    if not path.exists():
        write_clip(make_clip(2, 8, 8), 8, path, format, {"seed": 1})
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=20)):
        raw[place] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(raw)
    try:
        assert isinstance(read_recipe(damaged), dict)
    except AnimdiffError as error:
        assert error.hint


@many
@given(raw=st.binary(max_size=200), head=st.sampled_from([b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFFabcdWEBP", b"{"]))
def test_random_bytes_never_crash_the_reader(raw, head, tmp_path):
    path = tmp_path / "foreign"
    path.write_bytes(head + raw)
    with pytest.raises(AnimdiffError):
        read_recipe(path)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_image_of_another_program_has_no_recipe(suffix, tmp_path):
    path = tmp_path / f"theirs.{suffix}"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(NoRecipe, match="has no animdiff recipe") as refusal:
        read_recipe(path)
    assert refusal.value.exit_code == 3


def test_a_comment_of_another_program_is_not_a_recipe(tmp_path):
    path = tmp_path / "theirs.gif"
    Image.new("P", (8, 8)).save(path, comment=b'{"prompt": "not ours"}')
    with pytest.raises(NoRecipe):
        read_recipe(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"animdiff": "one"}', '{"a":' * 100_000])
def test_json_that_is_not_a_recipe_is_refused(text, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(AnimdiffError):
        read_recipe(path)


@pytest.mark.parametrize("missing", ["nothing.gif", "folder"])
def test_a_missing_file_is_reported(missing, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFound, match="no such file"):
        read_recipe(tmp_path / missing)


def test_a_recipe_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text('{"animdiff": 2}')
    with pytest.raises(UsageError, match="later animdiff") as refusal:
        read_recipe(path)
    assert "pip install --upgrade animdiff" in refusal.value.hint
