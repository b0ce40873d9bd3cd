"""Trained files go where their kind belongs, and the card says how each was made."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from animdiff_cli.paths import pocket_dir
from tools.pocket.bundle import install, main, write_card
from tools.pocket.save import MADE_BY, MOTION_FILE, read_recipe


def bundle_at(folder):
    """Copy what the card is made from."""
    for file in MADE_BY:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pocket_dir() / file, folder / file)
    return folder


def trained(path, kind, **data):
    """Write a file as `animdiff train-*` leaves it."""
    settings = {"stage": kind, "batch": 3, "accumulation": 2, "lr": 0.5, "data": data}
    record = {"config": settings, "steps": 7, "loss": {"smoothed": 0.25}}
    save_file({"one": torch.ones(2)}, path, {"animdiff.kind": kind, "animdiff.training": json.dumps(record)})
    return path


def test_a_motion_module_takes_the_place_of_the_last_and_goes_on_its_record(tmp_path):
    bundle = bundle_at(tmp_path / "bundle")
    before = read_recipe(bundle / MOTION_FILE)["stages"]
    install(trained(tmp_path / "new.safetensors", "motion-module"), bundle, minutes=1.5)
    *earlier, last = read_recipe(bundle / MOTION_FILE)["stages"]
    assert earlier == before
    assert last == {
        "stage": "`motion-module`",
        "steps": 7,
        "minutes": 1.5,
        "batch": 6,
        "learning_rate": 0.5,
        "final_loss": 0.25,
    }
    assert load_file(bundle / MOTION_FILE).keys() == {"one"}


def test_a_motion_lora_lies_beside_and_is_on_the_card(tmp_path):
    bundle = bundle_at(tmp_path / "bundle")
    move = trained(tmp_path / "camera-tilt-up.safetensors", "motion-lora", shot="tilt-up")
    assert main([str(move), "--bundle", str(bundle)]) == 0
    assert (bundle / "motion_loras" / move.name).is_file()
    card = (bundle / "README.md").read_text()
    assert f"| `motion_loras/{move.name}` | `motion-lora` tilt-up | 7 | 6 | 0.5 | – | 0.2500 |" in card


def test_the_card_in_the_package_is_the_one_its_files_make(tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(pocket_dir(), copy)
    write_card(copy)
    assert (copy / "README.md").read_text() == (pocket_dir() / "README.md").read_text()
