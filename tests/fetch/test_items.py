"""The arguments of `animdiff fetch`, and the items they expand to."""

from typing import get_args

import pytest

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.disk import format_bytes, require_space
from animdiff_cli.fetch.items import GROUPS, expand, items_for_preset, join_groups
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.plan import make_dry_plan
from animdiff_cli.registry.catalog import Kind, load_catalog


def names(items):
    return [item.name for item in items]


@pytest.mark.parametrize("words", [["motion-modules"], ["motion", "modules"], ["Motion", "Modules"]])
def test_a_group_expands_to_all_fetchable_entries_of_its_kind(words):
    fetchable = [entry.alias for entry in load_catalog().of_kind("motion-module") if entry.bundled is None]
    assert names(expand(words, Network())) == fetchable
    assert len(fetchable) > 20


def test_joins_words_only_if_they_name_a_group():
    assert join_groups(["toonyou", "motion", "loras", "mm-v3"]) == ["toonyou", "motion-loras", "mm-v3"]
    assert join_groups(["motion", "pictures"]) == ["motion", "pictures"]


def test_every_kind_has_a_group_and_no_alias_shadows_it():
    assert set(GROUPS.values()) == set(get_args(Kind))
    assert not [group for group in GROUPS if group in load_catalog()]


def test_removes_duplicate_items():
    assert names(expand(["mm-v3", "v3_sd15_mm", "mm-v3"], Network())) == ["mm-v3"]


@pytest.mark.parametrize(
    ("preset", "weights"),
    [
        ("lyriel", ["lyriel", "mm-v3"]),
        ("tusun", ["helloworld-filmgrain", "mm-v3", "tusun"]),
        ("lcm-8step", ["toonyou", "animatelcm", "animatelcm-lora"]),
        ("camera-zoom-in", ["realistic-vision", "mm-v2", "zoom-in"]),
    ],
)
def test_lists_the_weights_of_a_preset(preset, weights):
    assert names(items_for_preset(preset, Network())) == weights


def test_lists_the_requirements_of_a_presets_weights(models):
    folder = models.parent / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "lcm.yaml").write_text("description: Fast\nmodel: toonyou\nmotion_module: animatelcm\n")
    assert names(items_for_preset("lcm", Network())) == ["toonyou", "animatelcm", "animatelcm-lora"]


def test_suggests_the_closest_alias_or_group():
    for typed, meant in (("tonyou", "toonyou"), ("motion-module", "motion-modules")):
        with pytest.raises(NotFound) as refusal:
            expand([typed], Network())
        assert refusal.value.hint == f"did you mean `{meant}`?"


def test_refuses_a_path():
    with pytest.raises(UsageError, match="is a path"):
        expand(["./model.safetensors"], Network())


def test_dry_plan_makes_no_request_for_known_sizes(site):
    plan = make_dry_plan(expand(["mm-v1", "mm-v3"], Network()), Network(hub=site.url))
    assert plan.needed == 1672133921 + 1673262583
    assert plan.unknown == 0
    assert not site.requests


def test_insufficient_space_reports_both_sizes(tmp_path):
    require_space(10, 10, tmp_path)
    with pytest.raises(UsageError, match=r"1\.70 GB to download, 20\.0 MB free"):
        require_space(1_700_000_000, 20_000_000, tmp_path)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_999, "1.00 MB"), (10**16, "10.0 PB")]
)
def test_formats_bytes_with_three_significant_digits(size, text):
    assert format_bytes(size) == text
