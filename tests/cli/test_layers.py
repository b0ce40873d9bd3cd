"""Defaults < model < preset < file < environment < --set < flag, through the real command."""

import json

import pytest
import yaml

#: each source in order, and the steps it asks for
SOURCES = {"preset": 12, "file": 13, "environment": 14, "--set": 15, "flag": 16}


@pytest.fixture
def words(here, monkeypatch):
    """Give the words of a call in which the first `count` sources each ask for their own number of steps."""

    def build(count):
        given = list(SOURCES)[:count]
        words = ["--preset", "fast"] if "preset" in given else []
        if "file" in given:
            (here / "look.yaml").write_text("steps: 13\n")
            words += ["--config", "look.yaml"]
        if "environment" in given:
            monkeypatch.setenv("ANIMDIFF_STEPS", "14")
        words += ["--set", "steps=15"] if "--set" in given else []
        return words + (["--steps", 16] if "flag" in given else [])

    return build


@pytest.mark.parametrize("count", range(len(SOURCES) + 1))
def test_the_higher_source_wins(animdiff, parts, words, count):
    result = animdiff("generate", *parts, *words(count), "--prompt", "a fox", "--dry-run", "--json")
    expected = [25, *SOURCES.values()][count]
    assert json.loads(result.stdout)["config"]["steps"] == expected


@pytest.mark.parametrize("count", range(len(SOURCES)))
def test_config_show_says_where_each_value_comes_from(animdiff, words, count):
    shown = json.loads(animdiff("config", "show", *words(count), "--json").stdout)
    origin = ["default", "preset `fast`", "look.yaml", "ANIMDIFF_STEPS", "--set"][count]
    assert shown["steps"] == {"value": [25, *SOURCES.values()][count], "origin": origin}


def test_config_show_says_what_a_model_recommends(animdiff):
    shown = json.loads(animdiff("config", "show", "-m", "pocket", "--json").stdout)
    assert shown["width"]["origin"] == "recommended for `pocket`"
    assert shown["model"] == {"value": "pocket", "origin": "--model"}


def test_what_config_show_prints_is_a_config_file(animdiff, here):
    shown = animdiff("config", "show", "-m", "toonyou", "--set", "negative_prompt=it's: #1").stdout
    assert "# --set" in shown
    assert yaml.safe_load(shown)["negative_prompt"] == "it's: #1"
    (here / "look.yaml").write_text(shown)
    again = json.loads(animdiff("config", "show", "--config", "look.yaml", "--json").stdout)
    assert {key: entry["value"] for key, entry in again.items()} == yaml.safe_load(shown)


def test_config_path_says_where_things_lie(animdiff, monkeypatch, tmp_path):
    monkeypatch.setenv("ANIMDIFF_OUTPUT", str(tmp_path / "clips"))
    places = json.loads(animdiff("config", "path", "--json").stdout)
    assert places["output"] == str(tmp_path / "clips")
    assert f"output   {tmp_path / 'clips'}" in animdiff("config", "path").stdout


def test_presets_are_listed_and_shown(animdiff):
    listed = [json.loads(line) for line in animdiff("presets", "list", "--json").stdout.splitlines()]
    assert {"pocket", "fast"} <= {preset["name"] for preset in listed}
    assert "fast" in animdiff("presets", "list").stdout
    shown = yaml.safe_load(animdiff("presets", "show", "fast").stdout)
    assert shown == {
        key: value
        for key, value in json.loads(animdiff("presets", "show", "fast", "--json").stdout).items()
        if key not in ("name", "description")
    }


def test_a_preset_of_ones_own_is_a_name_like_any_other(animdiff, tmp_path, parts):
    folder = tmp_path / "no-config" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("description: My look\nsteps: 3\n")
    result = animdiff("generate", *parts, "--preset", "mine", "--prompt", "a fox", "--dry-run", "--json")
    assert json.loads(result.stdout)["config"]["steps"] == 3


def test_a_prompt_and_a_seed_may_come_from_a_file(animdiff, parts, here):
    (here / "look.yaml").write_text("prompt: a fish\nseed: 18446744073709551615\n")
    result = animdiff("generate", *parts, "--config", "look.yaml", "--dry-run", "--json")
    config = json.loads(result.stdout)["config"]
    assert (config["prompt"], config["seed"]) == ("a fish", 2**64 - 1)


def test_a_typo_in_the_environment_is_an_error(animdiff, toy, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_STEP", "3")
    result = animdiff(*toy, "--prompt", "a fox")
    assert result.exit_code == 2
    assert "ANIMDIFF_STEP" in result.stderr and "did you mean `steps`?" in result.stderr


def test_the_device_may_come_from_the_environment(animdiff, toy, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_DEVICE", "cuda:99")
    assert animdiff(*toy, "--prompt", "a fox").exit_code == 6


def test_a_second_video_replaces_the_first_and_says_so(animdiff, toy, picture):
    words = [*toy, "--prompt", "a fox", "--dry-run", "--steps", 3, "--seed", 1, "--seed", 2]
    words += ["--video", "no.mp4", "--video", picture, "--invert", "--no-invert"]
    result = animdiff(*words)
    assert result.stderr.splitlines()[:2] == [
        "note: `--video` is given twice: the last one counts",
        "note: `--invert/--no-invert` is given twice: the last one counts",
    ]
    assert f"video {picture}, " in result.stderr and "3 steps" in result.stderr and "2 clips" in result.stderr
    assert animdiff(*words, "-q").stderr == ""
