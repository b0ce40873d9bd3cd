"""What may be typed after `animdiff fetch`, and what it stands for."""

import pytest

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.disk import in_words, require_space
from animdiff_cli.fetch.items import GROUPS, expand, items_for_preset, join_groups
from animdiff_cli.fetch.plan import make_dry_plan
from animdiff_cli.registry.catalog import load_catalog


def names(items):
    return [item.name for item in items]


@pytest.mark.parametrize("words", [["motion-modules"], ["motion", "modules"], ["Motion", "Modules"]])
def test_a_group_is_every_entry_of_its_kind_that_can_be_fetched(words):
    fetchable = [entry.alias for entry in load_catalog().of_kind("motion-module") if entry.bundled is None]
    assert names(expand(words, Network())) == fetchable
    assert len(fetchable) > 20


def test_words_are_joined_only_where_they_name_a_group():
    assert join_groups(["toonyou", "motion", "loras", "mm-v3"]) == ["toonyou", "motion-loras", "mm-v3"]
    assert join_groups(["motion", "pictures"]) == ["motion", "pictures"]


def test_every_kind_has_a_group_and_no_alias_hides_one():
    assert len(GROUPS) == 11
    assert not [group for group in GROUPS if group in load_catalog()]


def test_the_same_thing_named_twice_is_one_item():
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
def test_a_preset_brings_its_weights(preset, weights):
    assert names(items_for_preset(preset, Network())) == weights


def test_what_weights_require_comes_with_a_preset(models):
    folder = models.parent / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "lcm.yaml").write_text("description: Fast\nmodel: toonyou\nmotion_module: animatelcm\n")
    assert names(items_for_preset("lcm", Network())) == ["toonyou", "animatelcm", "animatelcm-lora"]


def test_a_slip_in_an_alias_or_group_is_corrected():
    for typed, meant in (("tonyou", "toonyou"), ("motion-module", "motion-modules")):
        with pytest.raises(NotFound) as refusal:
            expand([typed], Network())
        assert refusal.value.hint == f"did you mean `{meant}`?"


def test_a_path_is_nothing_to_fetch():
    with pytest.raises(UsageError, match="is a path"):
        expand(["./model.safetensors"], Network())


def test_a_dry_plan_of_known_sizes_asks_nobody(site):
    plan = make_dry_plan(expand(["mm-v1", "mm-v3"], Network()), Network(hub=site.url))
    assert plan.needed == 1672133921 + 1673262583
    assert plan.unknown == 0
    assert not site.seen


def test_what_does_not_fit_is_refused_with_both_numbers(tmp_path):
    require_space(10, 10, tmp_path)
    with pytest.raises(UsageError, match=r"1\.70 GB to fetch, and 20\.0 MB free"):
        require_space(1_700_000_000, 20_000_000, tmp_path)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_999, "1.00 MB"), (10**16, "10.0 PB")]
)
def test_sizes_are_written_as_file_managers_do(size, words):
    assert in_words(size) == words
