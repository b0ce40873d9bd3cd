"""The training commands as a person meets them: stills in a folder, a toy model, a few steps."""

import json

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.training.metrics_log import read_metrics
from animdiff_cli.weights.identify import identify

pytest.importorskip("animdiff_cli.training.data.dataset")


@pytest.fixture
def stills(here, monkeypatch):
    """Two pictures with captions."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(here.parent / "cache"))
    folder = here.parent / "stills"
    folder.mkdir()
    for name in ("one", "two"):
        rng = np.random.default_rng(len(name))
        patches = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(patches).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"picture {name}")
    return folder


@pytest.fixture
def words(stills, parts):
    """A run of three steps on them."""
    data = ["--videos", stills, "--shot", "pan-right", "-L", "4", "--size", "64"]
    small = ["--steps", "3", "--rank", "2", "--dtype", "fp32", "--set", "variants=1", "--set", "leak_stills=0"]
    return ["train-lora", *parts, *data, *small, "-o", "pan"]


def test_the_path_of_the_lora_is_all_that_goes_to_stdout(animdiff, words, here):
    done = animdiff(*words)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "pan/pan.safetensors\n"
    assert "step 3/3, loss" in done.stderr
    assert identify(here / "pan" / "pan.safetensors").kind == "motion-lora"
    again = animdiff(*words, "--json", "-q")
    record = json.loads(again.stdout)
    assert again.stderr == "" and record["output"] == "pan/pan.safetensors"
    assert record["config"]["data"]["shot"] == "pan-right" and record["steps"] == 3
    quiet = animdiff(*words, "-q")
    assert (quiet.stdout, quiet.stderr) == ("pan/pan.safetensors\n", "")
    from_file = animdiff("train-lora", "--config", "pan/config.yaml", "-q")
    assert (from_file.stdout, from_file.stderr) == ("pan/pan.safetensors\n", "")


def test_a_lora_of_sdxl_trains_from_the_shell(animdiff, words, toy_sdxl_model, toy_sdxl_motion_file, here):
    done = animdiff(*words, "--model", toy_sdxl_model, "--motion-module", toy_sdxl_motion_file, "--steps", "1")
    assert (done.exit_code, done.stdout) == (0, "pan/pan.safetensors\n"), done.stderr
    info = identify(here / "pan" / "pan.safetensors")
    assert (info.base, info.version) == ("sdxl", "sdxl")


def test_a_motion_module_of_another_base_is_refused_before_anything_is_loaded(animdiff, words, toy_sdxl_model, files):
    done = animdiff(*words, "--model", toy_sdxl_model)
    assert done.exit_code == 2
    assert "is a v3 motion module, and the image model" in done.stderr and "--base sdxl" in done.stderr
    new = ["train-motion", "--videos", words[words.index("--videos") + 1], "--model", toy_sdxl_model]
    layout = animdiff(*new, "--motion-version", "v2")
    assert layout.exit_code == 2
    assert "motion version v2 does not exist for" in layout.stderr and "choose one of sdxl, hotshot" in layout.stderr
    assert files() == []


def test_a_dry_run_trains_nothing(animdiff, words, files):
    done = animdiff(*words, "--dry-run")
    assert done.stdout == "pan/pan.safetensors\n" and "would train a motion-lora on 2 videos" in done.stderr
    assert files() == []


def test_what_would_be_trained_can_be_looked_at(animdiff, words, files):
    done = animdiff(*words, "--preview-data", "look")
    assert done.exit_code == 0, done.stderr
    assert "look/sheet.png" in done.stdout.split() and "pan/config.yaml" not in files()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--videos", "nowhere"], 3, "nowhere"),
        (["--shot", "pan-rigth"], 2, "pan-right"),
        (["--frames", "33"], 2, "1 to 32"),
        (["--lr", "0"], 2, "--lr"),
        (["--model", "nobody"], 3, "nobody"),
        (["--optimizer", "adamw8bit"], 6, "CUDA"),
        (["--set", "lrr=1"], 2, "did you mean `lr`"),
    ],
)
def test_mistakes_are_told_before_anything_trains(animdiff, words, files, more, code, said):
    done = animdiff(*words, *more)
    assert done.exit_code == code
    assert said in done.stderr and "hint:" in done.stderr
    assert done.stdout == "" and files() == []


def test_an_adapter_and_a_module_train_from_the_shell(animdiff, stills, toy_model, here):
    common = [
        "--model",
        toy_model,
        "--videos",
        stills,
        "--size",
        "64",
        "--dtype",
        "fp32",
        "--steps",
        "1",
        "--batch",
        "1",
    ]
    adapter = animdiff("train-adapter", *common, "-L", "1", "--rank", "2", "-o", "adapter", "-q")
    assert adapter.stdout == "adapter/adapter.safetensors\n", adapter.stderr
    plug = ["--domain-adapter", "adapter/adapter.safetensors@0.5", "--set", "data.shot=zoom-in"]
    module = animdiff("train-motion", *common, *plug, "-L", "4", "--motion-version", "v2", "-o", "module", "-q")
    assert module.stdout == "module/module.safetensors\n", module.stderr
    assert identify(here / "module" / "module.safetensors").version == "v2"


def test_ctrl_c_saves_exits_130_and_the_same_command_goes_on(animdiff, words, here, interrupt_at):
    interrupt_at(3)
    stopped = animdiff(*words, "--steps", 40, "--save-every", 1000)
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert "step 1/40" in stopped.stderr and "Traceback" not in stopped.stderr
    done = len(read_metrics(here / "pan" / "loss.csv"))
    assert 0 < done <= 3  # a step calls the UNet once or twice
    assert [path.name for path in (here / "pan" / "checkpoints").iterdir()] == [f"step-{done:08d}.pt"]
    on = animdiff(*words, "--steps", done + 1, "--save-every", 1000)
    assert on.exit_code == 0 and f"resuming after step {done} of {done + 1}" in on.stderr
