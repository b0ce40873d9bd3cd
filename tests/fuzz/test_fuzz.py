"""Damaged files and texts end in success or in an `AnimdiffError`, in little time and memory.

Each input is a valid one with a few mutations. The message of a failure names the seed.
"""

import faulthandler
import os
import random
import sys

import pytest

from animdiff_cli.errors import AnimdiffError
from tests.fuzz import media, text, weights
from tests.fuzz.harness import FAULTS, AcceptedWrongly, Subject, run
from tests.fuzz.subjects import SUBJECTS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

#: seeds of the long run begin here, so that it reads other inputs than the short one
FULL_SEED = 1000


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_damaged_input_ends_in_one_sentence(name, tmp_path):
    subject = SUBJECTS[name]
    faults = [result for result in run(name, subject, range(subject.short), tmp_path) if result.outcome in FAULTS]
    assert not faults, faults[0]


@pytest.mark.full
@pytest.mark.parametrize("name", SUBJECTS)
def test_thousands_of_damaged_inputs_end_in_one_sentence(name, tmp_path):
    subject = SUBJECTS[name]
    seeds = range(FULL_SEED, FULL_SEED + subject.full)
    faults = [result for result in run(name, subject, seeds, tmp_path) if result.outcome in FAULTS]
    assert not faults, faults


def test_every_fault_is_seen(tmp_path):
    faults = {"x-1": ValueError, "x-2": AcceptedWrongly, "x-4": AnimdiffError("")}

    def read(path):
        if fault := faults.get(path.parent.name):
            raise fault
        if path.parent.name == "x-3":
            bytearray(8 << 30)
        if path.parent.name == "x-5":
            faulthandler.disable()  # no traceback between the results of the tests
            os.abort()

    def make(folder, _):
        return folder / "input"

    outcomes = [result.outcome for result in run("x", Subject(make, (read,), 0, 0), range(7), tmp_path)]
    kinds = ["accepted", "traceback", "accepted wrongly", "over 2 GB", "traceback", "crash", "accepted"]
    assert outcomes == kinds


@pytest.mark.parametrize("name", SUBJECTS)
def test_an_input_depends_on_its_seed_only(name, tmp_path):
    made = []
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        path = SUBJECTS[name].make(tmp_path / place, random.Random(f"{name} 1"))
        made.append(path.read_bytes() if path.is_file() else sorted(p.name for p in path.rglob("*")))
    assert made[0] == made[1]


def test_good_texts_are_accepted(tmp_path):
    goods = {"settings.yaml": text.SETTINGS, "training.yaml": text.TRAINING, "catalog.yaml": text.SHIPPED}
    for name, good in (goods | {"recipe.json": text.RECIPE, "x.safetensors.json": text.METADATA}).items():
        (tmp_path / name).write_text(good)
        for read in SUBJECTS[name].readers:
            read(tmp_path / name)


@pytest.mark.parametrize("name", media.SUBJECTS)
def test_good_media_is_accepted(name, tmp_path, monkeypatch):
    monkeypatch.setattr(media, "mutate", lambda raw, _: raw)
    path = SUBJECTS[name].make(tmp_path, random.Random(0))
    SUBJECTS[name].readers[0](path)


@pytest.mark.parametrize("name", ["safetensors", "pickle-zip", "pickle-legacy"])
def test_good_weights_are_accepted(name, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "mutate", lambda raw, *_: raw)
    weights.tensors_read(SUBJECTS[name].make(tmp_path, random.Random(3)))
