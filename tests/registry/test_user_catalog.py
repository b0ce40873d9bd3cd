"""A catalog of one's own: edited by the program and by hand, and neither harms the other."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog, user_catalog
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.store import locate
from animdiff_cli.registry.user_catalog import add_entry, remove_entry


def entry(alias, **fields):
    told = {"kind": "lora", "base": "sd15", "description": "x", "sources": ("hf:org/repo/f.ckpt",)}
    return CatalogEntry(alias=alias, **{**told, **fields})


def test_what_was_added_is_known_at_once_beside_all_that_is_shipped(person):
    before = len(load_catalog().entries)
    path = add_entry(entry("mine", trigger_words=("zzz",)))
    assert path == user_catalog()
    assert load_catalog().find("MINE").trigger_words == ("zzz",)
    assert len(load_catalog().entries) == before + 1
    assert load_catalog().own == {"mine"}


def test_comments_and_everything_else_a_person_wrote_stay(person, put):
    text = (
        "# my models\n\n# the first\n- alias: one\n  kind: lora\n  base: sd15\n  description: 'a'  # sic\n"
        "  sources: [hf:org/repo/a.ckpt]\n\n# the second\n- {alias: two, kind: lora, base: sd15,\n"
        "   description: b, sources: ['hf:org/repo/b.ckpt']}\n"
    )
    put("config/catalog.yaml", text.encode())
    add_entry(entry("three"))
    assert user_catalog().read_text().startswith(text)
    remove_entry("three")
    assert user_catalog().read_text().rstrip() == text.rstrip()
    remove_entry("one")
    left = user_catalog().read_text()
    assert "# my models" in left and "# the second\n- {alias: two" in left and "alias: one" not in left


def test_a_list_in_one_line_can_be_added_to(person, put):
    one = {"alias": "one", "kind": "lora", "base": "sd15", "description": "x", "sources": ["hf:org/repo/a.ckpt"]}
    put("config/catalog.yaml", yaml.safe_dump([one], default_flow_style=True, width=1000).encode())
    add_entry(entry("two"))
    assert load_catalog().own == {"one", "two"}
    remove_entry("one")
    assert load_catalog().own == {"two"}


#: spaces at an end and line breaks are no part of one line
PRINTABLE = st.text(max_size=20).filter(str.isprintable)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), PRINTABLE), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_adding_and_removing_leaves_what_was_added_last(person, steps):
    user_catalog().unlink(missing_ok=True)
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
    assert {alias: catalog.find(alias).description for alias in catalog.own} == expected


@pytest.mark.parametrize("text", ["a\x85b ", "0\x85"])
def test_what_a_yaml_file_cannot_keep_is_refused_and_not_changed_in_silence(person, text):
    add_entry(entry("kept"))
    with pytest.raises(UsageError):
        add_entry(entry("mine", description=text))
    assert load_catalog().own == {"kept"}


def test_a_name_that_is_taken_is_refused_until_it_is_meant(person):
    with pytest.raises(UsageError, match="the alias `mm-v3` is taken") as refusal:
        add_entry(entry("mm-v3"))
    assert "--overwrite" in refusal.value.hint
    add_entry(entry("mm-v3"), overwrite=True)
    assert load_catalog().find("mm-v3").kind == "lora"
    remove_entry("mm-v3")
    assert load_catalog().find("mm-v3").kind == "motion-module"


def test_an_older_name_of_a_shipped_model_can_be_taken_and_leaves_it_its_own(person):
    add_entry(entry("mm_sd_v15"), overwrite=True)
    assert load_catalog().find("mm_sd_v15").kind == "lora"
    assert load_catalog().find("mm-v1").aliases == ("mm-sd-v15",)


def test_a_mistake_in_it_names_the_file_and_the_entry(person, put):
    path = put("config/catalog.yaml", b"- {alias: a, kind: base, base: sd15, description: x, path: here.ckpt}")
    with pytest.raises(UsageError) as refusal:
        load_catalog()
    assert str(refusal.value).startswith(f"{path}: `a`") and "write the whole path" in str(refusal.value)


def test_a_setting_nobody_knows_names_the_entry_too(person, put):
    put(
        "config/catalog.yaml",
        b"- {alias: a, kind: base, base: sd15, description: x, path: /x.ckpt, recommended: {stepps: 3}}",
    )
    with pytest.raises(UsageError, match=r"catalog\.yaml: `a`: recommended settings: unknown key `stepps`"):
        load_catalog()


def test_a_file_of_ones_own_is_used_where_it_lies_and_recommends_its_settings(person, put):
    path = put("elsewhere/look.safetensors")
    add_entry(entry("look", kind="base", sources=(), path=str(path), recommended={"steps": 4}))
    assert locate(parse_ref("look"), "base").path == path
    resolved = resolve(with_recommended([Layer("--model", {"model": "look"})]))
    assert (resolved.values["steps"], resolved.origins["steps"]) == (4, "recommended for `look`")
    path.unlink()
    with pytest.raises(NotFound, match="should be at") as refusal:
        locate(parse_ref("look"), "base")
    assert "animdiff models add look PATH --overwrite" in refusal.value.hint
