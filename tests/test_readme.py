"""The commands, flags, images and Python examples in README work."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.motion import plugged
from animdiff_cli.outputs import read_recipe
from tools.media import MEDIA, PICTURES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = r"generate|fetch|inspect|convert|presets|config|models|doctor|evaluate|gallery|train-\w+"
COMMANDS = sorted(set(re.findall(rf"animdiff (?:{NAMES})[^`\n)]*", README)))


@pytest.fixture
def animdiff(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, list(words))


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--model pocket" in c and "…" not in c])
def test_every_render_is_accepted(command, animdiff):
    result = animdiff(*shlex.split(command)[1:], "--dry-run")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_exists(command, animdiff):
    words = [word for word in command.split() if not word.startswith("'")]
    names = words[1:3] if words[1] in ("presets", "config", "models") else words[1:2]
    shown = animdiff(*names, "--help").output
    for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", command):
        assert flag in shown, flag


def test_it_shows_several_renders():
    assert sum("--model pocket" in command for command in COMMANDS) >= 4


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.file)
def test_each_picture_has_the_recipe_of_its_caption(picture):
    config = read_recipe(MEDIA / picture.file)["config"]
    assert (config["prompt"], config["seed"], config["model"]) == (picture.text, picture.seed, "pocket")
    assert f"docs/media/{picture.file}" in README
    assert picture.command in README


@torch.no_grad()
def test_the_plug_example_runs(toy_model, toy_motion_file):
    unet = UNet2DConditionModel.from_pretrained(toy_model / "unet")
    latents, text = torch.zeros(16, 4, 8, 8), torch.zeros(16, 7, 32)
    names = {"unet": unet, "latents": latents, "t": 1, "text": text}
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "plug(" in block)
    exec(example.replace('"v3_sd15_mm.ckpt"', repr(str(toy_motion_file))), names)
    assert names["noise"].shape == latents.shape
    assert plugged(unet) is None


def test_it_opens_with_the_two_commands():
    assert README.index("make demo") < README.index("make test") < 2500


def test_every_exit_code_is_listed():
    from animdiff_cli import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    for code in {cls.exit_code for cls in classes}:
        assert f"\n| {code} |" in README
