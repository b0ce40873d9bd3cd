import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file


def test_0_when_all_is_done(animdiff, toy):
    assert animdiff(*toy, "--prompt", "a fox").exit_code == 0


BUG = """
import typer
from animdiff_cli.cli.command import Root

app = typer.Typer(cls=Root, pretty_exceptions_enable=False)
app.callback()(lambda: None)

@app.command()
def divide() -> None:
    1 / 0

app()
"""


def test_1_for_a_bug_which_keeps_its_traceback(here):
    done = subprocess.run([sys.executable, "-c", BUG, "divide"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (["--sede", 1], "animdiff generate --help"),
        (["--steps", "many"], "animdiff generate --help"),
        (["--steps", 0], "25"),
        (["--seed", -1], "18446744073709551615"),
        (["--scheduler", "eular"], "did you mean `euler`?"),
        (["--format", "giff"], "did you mean `gif`?"),
        (["--set", "guidance=3"], "did you mean `guidance_scale`?"),
        (["--set", "steps"], "--set steps=30"),
        (["--device", "gpu"], "--device auto"),
        (["--output", "fox.gfi"], ".gif"),
        (["--output", "{sed}.gif"], "did you mean `seed`?"),
        (["--output", "fox.gif", "--format", "mp4"], "--format gif"),
        (["--clip-skip", 3], "at most 2"),
        (["--repeat", 0], "--repeat"),
        (["--fps", 100], "50"),
        (["--no-motion"], "one of them"),
        (["--negative", "blur", "--guidance-scale", 1], "--guidance-scale"),
        (["--noise-schedule", "free-noise"], "--frames 64"),
        (["--context-overlap", 4], "--context-length 8"),
        (["--context-mode", "unet"], "leave `--context-mode` out"),
        (["--free-init-filter", "ideal"], "--free-init 3"),
        (["--free-init", 2, "--set", "rescale_betas_zero_snr=true", "--set", "prediction_type=v_prediction"], "--free"),
        (["--prompt", "\udcff"], "UTF-8"),
        (["--prompt", " "], "--set prompt="),
        (["--prompt", "-"], "--prompt - < prompts.txt"),
        (["--output", "-"], "name a file"),
        (["--output", ""], "name a file"),
        (["--guidance-scale", "0:1,40:2"], "`100%` for the last frame"),
        (["--motion-scale", "-1:1,0:2"], "in the order of the clip"),
        (["--motion-scale", "0:1,0%:2"], "leave one of them out"),
        (["--motion-scale", "0:nan"], "`1.0`"),
        (["--motion-scale", "steps:99:1"], "`100%` for the last step"),
        (["--set", "steps=0:1,50%:3"], "give one value"),
        (["--context-length", 33], "--context-length 32"),
        (["--context-overlap", 16], "--context-overlap 4"),
        (["--loop", "--context-schedule", "static"], "looped"),
        (["--context-schedule", "batched", "--context-overlap", 1], "leave `--context-overlap` out"),
        (["--context-stride", 2], "uniform"),
        (["--context-fuse", "relative", "--context-schedule", "uniform"], "pyramid"),
    ],
)
def test_2_for_what_cannot_be_meant(animdiff, toy, files, wrong, hint):
    result = animdiff(*toy, "--prompt", "a fox", *wrong)
    assert result.exit_code == 2
    assert "error: " in result.stderr and hint in result.stderr.partition("hint: ")[2]
    assert result.stdout == ""
    assert files() == []


def test_2_for_a_model_without_a_motion_module(animdiff, toy_model):
    result = animdiff("generate", "--model", toy_model, "--prompt", "a fox")
    assert result.exit_code == 2
    assert "--no-motion" in result.stderr


def test_2_for_no_prompt(animdiff, toy):
    result = animdiff(*toy)
    assert result.exit_code == 2
    assert "hint: for example `--prompt" in result.stderr


def test_2_for_a_command_nobody_knows(animdiff):
    result = animdiff("generat")
    assert result.exit_code == 2
    assert "did you mean `generate`?" in result.stderr


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (["--model", "tonyou"], "did you mean `toonyou`?"),
        (["--model", "toonyou"], "animdiff fetch toonyou"),
        (["--model", "./no/such/folder"], "pocket"),
        (["--motion-module", "no.safetensors"], "check the path"),
        (["--preset", "toonyo"], "did you mean `toonyou`?"),
        (["--config", "no.yaml"], "check the path"),
    ],
)
def test_3_for_what_is_not_here(animdiff, toy, files, wrong, hint):
    result = animdiff(*toy, "--prompt", "a fox", *wrong)
    assert result.exit_code == 3
    assert hint in result.stderr.partition("hint: ")[2]
    assert files() == []


def test_3_for_a_clip_that_is_not_here(animdiff):
    assert animdiff("inspect", "no.gif").exit_code == 3
    assert animdiff("generate", "--from", "no.gif").exit_code == 3


def test_with_nothing_given_the_bundled_model_is_offered(animdiff):
    result = animdiff("generate")
    assert result.exit_code == 3
    assert "hint: try the bundled model: `animdiff generate --model pocket" in result.stderr


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_5_for_weights_cut_short(animdiff, toy, toy_model, here, files, part):
    broken = here / "broken"
    shutil.copytree(toy_model, broken)
    weights = broken / f"{part}.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    before = files()
    result = animdiff(*toy, "--model", broken, "--prompt", "a fox")
    assert result.exit_code == 5
    assert "not a valid safetensors file" in result.stderr
    assert files() == before


def test_5_for_a_folder_that_is_no_model(animdiff, toy, here):
    assert animdiff(*toy, "--model", here, "--prompt", "a fox").exit_code == 5


def test_2_for_a_file_of_another_kind(animdiff, toy, toy_model):
    weights = toy_model / "vae" / "diffusion_pytorch_model.safetensors"
    result = animdiff(*toy, "--motion-module", weights, "--prompt", "a fox")
    assert result.exit_code == 2
    assert "is a VAE, not a motion module" in result.stderr
    assert f"`--vae {weights}`" in result.stderr


def test_5_for_a_file_that_is_nothing_known(animdiff, toy, here):
    save_file({"a.b.c": torch.zeros(3)}, here / "odd.safetensors")
    result = animdiff(*toy, "--motion-module", here / "odd.safetensors", "--prompt", "a fox")
    assert result.exit_code == 5
    assert "is not a known kind of weight file" in result.stderr


def test_6_for_a_device_that_is_not_here(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "--device", "cuda:99", "--json")
    assert result.exit_code == 6
    assert json.loads(result.stderr)["hint"] == "use `--device auto`"


def test_6_for_a_model_whose_numbers_overflow(animdiff, toy, toy_model, here, files):
    hot = here / "hot"
    shutil.copytree(toy_model, hot)
    path = hot / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.weight"] = weights["conv_out.weight"] * 1e38
    save_file(weights, path, {"format": "pt"})
    before = files()
    result = animdiff(*toy, "--model", hot, "--prompt", "a fox")
    assert result.exit_code == 6
    assert "NaN or infinity" in result.stderr
    assert files() == before


@pytest.mark.parametrize(("flag", "value"), [("--context-length", 8), ("--noise-schedule", "free-noise")])
def test_2_for_windows_without_a_motion_module(animdiff, toy_model, files, flag, value):
    result = animdiff("generate", "-m", toy_model, "--no-motion", "--prompt", "a fox", flag, value)
    assert result.exit_code == 2
    assert f"`{flag}` has no effect without a motion module" in result.stderr
    assert f"hint: leave out `{flag}`, or `--no-motion`\n" in result.stderr
    assert files() == []
