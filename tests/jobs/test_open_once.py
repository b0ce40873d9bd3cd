"""From the plan to the last frame each weight file is opened, and its header checked, once."""

import shutil
from collections import Counter

import pytest
from safetensors.torch import load_file, save_file

from animdiff_cli import generate
from animdiff_cli.diffusion.source import forget_model, open_model
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.weights import files


@pytest.fixture
def opened(monkeypatch):
    """How often each header was read, by path."""
    forget_model()  # of an earlier test
    counts, read_header = Counter(), files.read_header

    def counting(path):
        counts[path] += 1
        return read_header(path)

    monkeypatch.setattr(files, "read_header", counting)
    return counts


def weight_paths(model, *others):
    return {*sorted(model.glob("*/*.safetensors")), *others}


def test_a_folder_with_lora_and_vae(small, opened, toy_model, toy_motion_file, make_lora, tmp_path):
    lora, _ = make_lora()
    vae = shutil.copytree(toy_model / "vae", tmp_path / "vae")
    generate("a fox", **small, loras=[{"ref": lora, "scale": 0.5}], vae=vae)
    assert opened == dict.fromkeys(weight_paths(toy_model, toy_motion_file, lora, *vae.glob("*.safetensors")), 1)


def test_a_single_file_with_its_motion_module(small, opened, toy_model, toy_motion_file, tmp_path):
    checkpoint = tmp_path / "toy.safetensors"
    convert_weights(plan_conversion(str(toy_model), to="original", output=checkpoint))
    opened.clear()
    generate("a fox", **small | {"model": checkpoint})
    assert opened == {checkpoint: 1, toy_motion_file: 1}


def test_a_second_render_opens_the_files_again(small, opened, toy_model, toy_motion_file):
    for count in (1, 2):
        generate("a fox", **small)
        assert opened == dict.fromkeys(weight_paths(toy_model, toy_motion_file), count)


def test_a_changed_model_is_not_taken_from_memory(changed_model):
    model = changed_model({})
    before = open_model(model)
    assert open_model(model) is before
    (unet,) = (model / "unet").glob("*.safetensors")
    save_file(load_file(unet), unet, metadata={"note": "saved again"})
    assert open_model(model) is not before
    forget_model()
