"""Preprocessors that have a network: their package and weights are found missing before anything else is done."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.config.layers import Layer
from animdiff_cli.diffusion import detectors
from animdiff_cli.errors import IntegrityError, NotFound, UsageError
from animdiff_cli.jobs import render_plan
from animdiff_cli.jobs.preprocess_choice import with_preprocess_weights_again
from animdiff_cli.outputs import read_recipe
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.weights.preprocessors import USUAL_WEIGHTS
from tests.toy_networks import write_controls, write_depth


@pytest.fixture(scope="module")
def control(toy_model, tmp_path_factory):
    """A ControlNet of random weights that fits `toy_model`, in a folder whose name says nothing; returns its path."""
    folder = tmp_path_factory.mktemp("controls") / "plain"
    write_controls(toy_model / "unet", folder, folder.with_name("sparse.ckpt"))
    return folder


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    return write_depth(tmp_path_factory.mktemp("depth") / "network")


@pytest.fixture
def photo(tmp_path):
    picture = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(picture)
    return picture


@pytest.fixture
def with_package(monkeypatch):
    monkeypatch.setattr(detectors, "PACKAGE", "numpy")


@pytest.fixture
def without_package(monkeypatch):
    monkeypatch.setattr(detectors, "PACKAGE", "no_such_package")


def plan(settings, **more):
    values = {key: str(value) if key in ("model", "motion_module") else value for key, value in settings.items()}
    return render_plan.plan_renders([Layer("test", values | {"prompt": "a fox"} | more)])


@pytest.mark.parametrize("name", [name for name in USUAL_WEIGHTS if name != "depth"])
def test_without_the_package_the_hint_is_what_to_install(without_package, small, control, photo, name):
    with pytest.raises(UsageError, match=f"`{name}` needs the package controlnet-aux") as refusal:
        plan(small, controls=[f"{control}={photo}"], preprocess=name)
    assert (refusal.value.exit_code, refusal.value.hint) == (2, "pip install 'animdiff[control]'")


@pytest.mark.parametrize("name", USUAL_WEIGHTS)
def test_missing_weights_are_named_with_what_fetches_them(with_package, small, control, photo, name):
    alias = USUAL_WEIGHTS[name]
    with pytest.raises(NotFound, match=f"`{alias}` is not on this machine") as refusal:
        plan(small, controls=[{"ref": str(control), "source": str(photo), "preprocess": name}])
    assert (refusal.value.exit_code, refusal.value.hint) == (3, f"run `animdiff fetch {alias}`")
    entry = load_catalog().find(alias)
    assert entry.kind == "preprocessor" and name in entry.description


@pytest.mark.parametrize("name", ["my_pose", "control_v11f1p_sd15_depth"])
def test_auto_needs_the_weights_for_a_photo_and_none_for_a_control_picture(
    with_package, small, control, photo, tmp_path, name
):
    named = shutil.copytree(control, tmp_path / name)
    with pytest.raises(NotFound, match="is not on this machine"):
        plan(small, controls=[f"{named}={photo}"])
    black = tmp_path / "black.png"
    Image.new("RGB", (64, 64)).save(black)
    planned = plan(small, controls=[f"{named}={black}"])
    assert planned.configs[0].preprocess_weights == () and planned.weights.files.preprocess_weights == ()


def test_weights_of_another_preprocessor_or_kind_are_refused(with_package, small, control, depth, photo):
    controls = [f"{control}={photo}"]
    with pytest.raises(UsageError, match="none of `preprocess_weights` are for it") as refusal:
        plan(small, controls=controls, preprocess="softedge", preprocess_weights=[str(depth)])
    assert refusal.value.hint == "add `--preprocess-weights hed`"
    with pytest.raises(UsageError, match="is a motion module, not a network that makes control pictures"):
        plan(small, controls=controls, preprocess="depth", preprocess_weights=[str(small["motion_module"])])
    planned = plan(small, controls=controls, preprocess="none", preprocess_weights=[str(depth)])
    assert "network is not used: no control needs it" in planned.notes


@pytest.mark.parametrize(("key", "value"), [("preprocess", "canny"), ("preprocess_weights", ["dpt-hybrid"])])
def test_flags_of_preprocessors_are_refused_without_a_control(small, key, value):
    recipe = Layer("test", small | {"prompt": "a fox"} | {k: str(small[k]) for k in ("model", "motion_module")})
    flag = f"--{key.replace('_', '-')}"
    with pytest.raises(UsageError, match=f"`{flag}` has no effect without a control") as refusal:
        render_plan.plan_renders([recipe, Layer("command line", {key: value}, {key: flag})])
    assert refusal.value.hint == "add `--control REF=SOURCE`"
    assert plan(small, preprocess="canny").configs[0].preprocess == "canny"  # a preset may have it


def test_pickles_with_code_are_refused_unread(with_package, small, control, photo, tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"block1.convs.0.weight": torch.zeros(1), "block5.projection.bias": Code()}, tmp_path / "hed.pth")
    with pytest.raises(IntegrityError, match=r"hed\.pth"):
        plan(small, controls=[f"{control}={photo}"], preprocess="softedge", preprocess_weights=[f"{tmp_path}/hed.pth"])
    assert not (tmp_path / "ran").exists()


def test_a_recipe_chooses_the_usual_weights_again_but_keeps_others(with_package, photo):
    controls = [f"controlnet-softedge={photo}"]
    recipe = Layer("recipe", {"controls": controls, "preprocess_weights": ("hed",)})

    def chosen(recipe, **changes):
        layers = with_preprocess_weights_again(recipe, [Layer("--preprocess", changes)])
        return [layer.values["preprocess_weights"] for layer in layers if "preprocess_weights" in layer.values]

    assert chosen(recipe, seed=2) == chosen(recipe, preprocess="softedge") == [("hed",)]
    assert chosen(recipe, preprocess="depth") == [("depth-anything-v2-small",)]
    assert chosen(recipe, preprocess="canny") == []
    others = Layer("recipe", {"controls": controls, "preprocess_weights": ("./mine.pth",)})
    assert chosen(others, preprocess="depth") == [("./mine.pth",)]


def test_depth_is_made_of_the_frames_saved_and_recorded(small, control, depth, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "-p", "a fox", "-m", small["model"], "--motion-module", small["motion_module"], "-q"]
    words += ["--steps", 1, "-L", 2, "-W", 64, "-H", 64, "-s", 1, "--dtype", "fp32", "--control", f"{control}={photo}"]
    words += ["--preprocess", "depth", "--preprocess-weights", depth, "--save-control", "seen", "-o", "fox.gif"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    seen = np.asarray(Image.open(tmp_path / "seen" / "1-0-photo" / "00000.png"))
    detect = detectors.load_detector(detectors.open_detector(depth), detectors.torch.device("cpu"))
    assert (seen == detect(np.asarray(Image.open(photo)))).all() and seen.std() > 10
    recipe = read_recipe(tmp_path / "fox.gif")
    assert list(recipe["weights"]["preprocess_weights"]) == ["model.safetensors"]
    assert recipe["config"]["preprocess_weights"] == [str(depth)]
