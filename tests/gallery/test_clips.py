"""Records of clips: settings of untrusted recipes as plain values, and commands that a shell reads as one path."""

import json
import os
import subprocess

import pytest

from animdiff_cli.gallery.clips import MAX_SETTINGS, GalleryClip, fill_defaults, settings_of, shell_quoted

PATHS = [
    "night/fox.gif",
    "it's a fox.gif",
    'a "quoted" $HOME `id` \\ name.gif',
    "-n.gif",
    "line\nbreak.gif",
    "a\x1b[201~;rm -rf ~.gif",
    "tab\there's \\.gif",
    "caf\udce9.gif",
    "füchse 🦊.gif",
    "1\x079.gif",
    "\u202egpj.gif",
]


@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_a_shell_reads_the_quoted_path_as_it_is(path):
    command = ["bash", "-c", os.fsencode(f"printf %s {shell_quoted(path)}")]
    printed = subprocess.run(command, capture_output=True, check=True)
    assert os.fsdecode(printed.stdout).removeprefix("./") == path


@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_no_control_character_can_be_pasted(path):
    assert shell_quoted(path).isprintable()


def test_settings_become_values_that_json_and_javascript_keep():
    values = {
        "seed": 2**64 - 1,
        "steps": 20,
        "scale": float("nan"),
        "huge": float("inf"),
        "loop": True,
        "vae": None,
        "loras": [],
        "motion_loras": ["a@0.5", {"ref": "b", "scale": 2}],
        "prompt": "one\u2028two\x1b",
    }
    settings = settings_of({"config": values})
    assert settings == {
        "seed": "18446744073709551615",
        "steps": 20,
        "scale": "nan",
        "huge": "inf",
        "loop": True,
        "vae": None,
        "loras": "none",
        "motion_loras": "a@0.5, ref: b, scale: 2",
        "prompt": "one\\u2028two\\x1b",
    }
    json.dumps(settings, allow_nan=False)


@pytest.mark.parametrize("recipe", [None, {}, {"config": None}, {"config": []}, {"config": "prompt"}])
def test_a_recipe_without_settings_has_none(recipe):
    assert settings_of(recipe) == {}


def test_a_recipe_with_too_many_settings_is_cut():
    assert len(settings_of({"config": {str(number): 1 for number in range(10_000)}})) == MAX_SETTINGS
    assert settings_of({"config": {"k" * 1000: 1, "seed": 1}}) == {"seed": 1}


def test_settings_that_a_recipe_leaves_out_have_their_default():
    records = [
        {"recipe": "{}", "settings": {"seed": 1, "motion_scale": 0.5, "unknown": 1}},
        {"recipe": "{}", "settings": {"seed": 2}},
        {"recipe": None, "settings": {}},
    ]
    fill_defaults(records)
    assert records[0]["settings"] == {"seed": 1, "motion_scale": 0.5, "unknown": 1}
    assert records[1]["settings"] == {"seed": 2, "motion_scale": 1.0, "unknown": None}
    assert records[2]["settings"] == {}, "a clip without a recipe has unknown settings"


def test_the_record_holds_no_credentials():
    recipe = {"config": {"model": "https://me:secret@host/m.safetensors?token=abc"}}
    clip = GalleryClip("a.gif", "gif", 8, 8, 1, 8.0, 0, recipe)
    assert "secret" not in json.dumps(clip.record()) and "abc" not in json.dumps(clip.record())
