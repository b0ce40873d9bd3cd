"""Lists of many models do work in proportion to their number, and read nothing twice. Counted, not timed."""

import os
import shutil
import sys
from collections import Counter

import pytest
import yaml

from animdiff_cli import paths
from animdiff_cli.jobs.models import list_models
from animdiff_cli.registry import catalog

LORA = paths.PACKAGE / "pocket" / "loras" / "style-neon.safetensors"


def calls_of(work):
    """Return how often `work` calls each function of the package."""
    counter = Counter()

    def count(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(paths.PACKAGE)):
            counter[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counter


@pytest.fixture
def many(here, monkeypatch):
    """Return a function that makes LoRAs of another program and entries of the user catalog, `count` of each."""

    def make(count):
        catalog._merged_catalog.cache_clear()
        folder = here / str(count)
        (folder / "loras").mkdir(parents=True)
        for number in range(count):
            (folder / "loras" / f"style_{number}.safetensors").hardlink_to(source)
        (folder / "loras" / "unknown.pt").write_bytes(b"not weights")
        entry = {"kind": "lora", "base": "sd15", "description": "a style", "bytes": 5, "sha256": "ab" * 32}
        names = [{"alias": f"s{number}", "sources": [f"hf:a/b/s{number}.pt"]} for number in range(count)]
        path = catalog.user_catalog_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump([entry | name for name in names]))
        monkeypatch.setenv("ANIMDIFF_EXTRA_MODELS", os.pathsep.join([str(folder)]))

    source = here / "source.safetensors"
    shutil.copy(LORA, source)
    return make


def test_a_list_of_twice_as_many_models_takes_twice_the_work(many):
    def work(count):
        many(count)
        list(list_models())  # fill the caches
        return calls_of(lambda: list(list_models())).total()

    base, fewer, more = work(1), work(20), work(40)
    assert more - base < 2.3 * (fewer - base)


def test_a_second_list_opens_no_weights_and_parses_no_catalog(many):
    many(3)
    first = calls_of(lambda: list(list_models()))
    catalog._merged_catalog.cache_clear()
    second = calls_of(lambda: list(list_models()))
    assert first["identify"] == 4
    assert first["parse_yaml"] >= 1
    assert (second["identify"], second["parse_yaml"]) == (0, 0)
