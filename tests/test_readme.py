"""README promises nothing that is not there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.outputs import read_recipe
from tools.media import MEDIA, PICTURES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = r"generate|fetch|inspect|convert|presets|config|models|doctor|evaluate|train-\w+"
COMMANDS = sorted(set(re.findall(rf"animdiff (?:{NAMES})[^`\n)]*", README)))


@pytest.fixture
def animdiff(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, list(words))


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--model pocket" in c and "…" not in c])
def test_every_render_it_shows_is_one_the_program_would_do(command, animdiff):
    result = animdiff(*shlex.split(command)[1:], "--dry-run")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_it_shows_exists(command, animdiff):
    words = [word for word in command.split() if not word.startswith("'")]
    names = words[1:3] if words[1] in ("presets", "config", "models") else words[1:2]
    shown = animdiff(*names, "--help").output
    for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", command):
        assert flag in shown, flag


def test_it_shows_renders(animdiff):
    assert sum("--model pocket" in command for command in COMMANDS) >= 4


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.file)
def test_each_picture_carries_the_recipe_it_is_captioned_with(picture):
    config = read_recipe(MEDIA / picture.file)["config"]
    assert (config["prompt"], config["seed"], config["model"]) == (picture.prompt, picture.seed, "pocket")
    assert f"docs/media/{picture.file}" in README
    assert picture.command in README


def test_it_opens_with_the_two_commands():
    assert README.index("make demo") < README.index("make test") < 2500


def test_every_exit_code_is_listed():
    from animdiff_cli import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    for code in {cls.exit_code for cls in classes}:
        assert f"\n| {code} |" in README
