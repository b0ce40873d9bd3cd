"""The user catalog: edits by the program keep edits by hand."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog
from animdiff_cli.registry.catalog_files import user_catalog_path
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.store import locate
from animdiff_cli.registry.user_catalog import add_entry, remove_entry


def entry(alias, **fields):
    defaults = {"kind": "lora", "base": "sd15", "description": "x", "sources": ("hf:org/repo/f.ckpt",)}
    return CatalogEntry(alias=alias, **{**defaults, **fields})


def test_an_added_entry_is_available_at_once_beside_the_shipped_ones(user_dir):
    before = len(load_catalog().entries)
    path = add_entry(entry("mine", trigger_words=("zzz",)))
    assert path == user_catalog_path()
    assert load_catalog().find("MINE").trigger_words == ("zzz",)
    assert len(load_catalog().entries) == before + 1
    assert load_catalog().user_aliases == {"mine"}


def test_comments_and_formatting_are_kept(user_dir, write_file):
    text = (
        "# my models\n\n# the first\n- alias: one\n  kind: lora\n  base: sd15\n  description: 'a'  # sic\n"
        "  sources: [hf:org/repo/a.ckpt]\n\n# the second\n- {alias: two, kind: lora, base: sd15,\n"
        "   description: b, sources: ['hf:org/repo/b.ckpt']}\n"
    )
    write_file("config/catalog.yaml", text.encode())
    add_entry(entry("three"))
    assert user_catalog_path().read_text().startswith(text)
    remove_entry("three")
    assert user_catalog_path().read_text().rstrip() == text.rstrip()
    remove_entry("one")
    left = user_catalog_path().read_text()
    assert "# my models" in left and "# the second\n- {alias: two" in left and "alias: one" not in left


def test_a_flow_style_list_can_be_edited(user_dir, write_file):
    one = {"alias": "one", "kind": "lora", "base": "sd15", "description": "x", "sources": ["hf:org/repo/a.ckpt"]}
    write_file("config/catalog.yaml", yaml.safe_dump([one], default_flow_style=True, width=1000).encode())
    add_entry(entry("two"))
    assert load_catalog().user_aliases == {"one", "two"}
    remove_entry("one")
    assert load_catalog().user_aliases == {"two"}


#: printable text, so no line breaks
PRINTABLE = st.text(max_size=20).filter(str.isprintable)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), PRINTABLE), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_edits_leaves_the_last_added_entries(user_dir, steps):
    user_catalog_path().unlink(missing_ok=True)
    expected = {}
    for adds, letter, text in steps:
        alias, described = f"own-{letter}", f"d {text}"
        if adds:
            add_entry(entry(alias, description=described), overwrite=True)
            expected[alias] = described
        elif alias in expected:
            remove_entry(alias)
            del expected[alias]
        else:
            with pytest.raises(NotFound):
                remove_entry(alias)
    catalog = load_catalog()
    assert {alias: catalog.find(alias).description for alias in catalog.user_aliases} == expected


@pytest.mark.parametrize("text", ["a\x85b ", "0\x85"])
def test_characters_that_yaml_cannot_store_are_refused(user_dir, text):
    add_entry(entry("kept"))
    with pytest.raises(UsageError):
        add_entry(entry("mine", description=text))
    assert load_catalog().user_aliases == {"kept"}


def test_an_alias_in_use_needs_overwrite(user_dir):
    with pytest.raises(UsageError, match="the alias `mm-v3` is in use") as refusal:
        add_entry(entry("mm-v3"))
    assert "--overwrite" in refusal.value.hint
    add_entry(entry("mm-v3"), overwrite=True)
    assert load_catalog().find("mm-v3").kind == "lora"
    remove_entry("mm-v3")
    assert load_catalog().find("mm-v3").kind == "motion-module"


def test_a_user_entry_can_take_over_one_alias_of_a_shipped_model(user_dir):
    add_entry(entry("mm_sd_v15"), overwrite=True)
    assert load_catalog().find("mm_sd_v15").kind == "lora"
    assert load_catalog().find("mm-v1").aliases == ("mm-sd-v15",)


def test_an_invalid_entry_is_refused_with_file_and_alias_named(user_dir, write_file):
    path = write_file("config/catalog.yaml", b"- {alias: a, kind: base, base: sd15, description: x, path: here.ckpt}")
    with pytest.raises(UsageError) as refusal:
        load_catalog()
    assert str(refusal.value).startswith(f"{path}: `a`") and "write an absolute one" in str(refusal.value)


def test_an_unknown_recommended_setting_is_refused_with_the_alias_named(user_dir, write_file):
    write_file(
        "config/catalog.yaml",
        b"- {alias: a, kind: base, base: sd15, description: x, path: /x.ckpt, recommended: {stepps: 3}}",
    )
    with pytest.raises(UsageError, match=r"catalog\.yaml: `a`: recommended settings: unknown key `stepps`"):
        load_catalog()


def test_a_local_file_is_used_in_place_and_recommends_its_settings(user_dir, write_file):
    path = write_file("external/look.safetensors")
    add_entry(entry("look", kind="base", sources=(), path=str(path), recommended={"steps": 4}))
    assert locate(parse_ref("look"), "base").path == path
    resolved = resolve(GenerateConfig, with_recommended([Layer("--model", {"model": "look"})]))
    assert (resolved.values["steps"], resolved.origins["steps"]) == (4, "recommended for `look`")
    path.unlink()
    with pytest.raises(NotFound, match="was not found at") as refusal:
        locate(parse_ref("look"), "base")
    assert "animdiff models add look PATH --overwrite" in refusal.value.hint
