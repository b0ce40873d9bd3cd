"""Output names are readable and valid on every file system."""

import re
import unicodedata
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.naming import FIELDS, RESERVED, SLUG_BYTES, SLUG_LENGTH, output_name, slug
from animdiff_cli.errors import UsageError

WHEN = datetime(2026, 1, 31, 23, 59, 58)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red rocket in the night sky", "a-red-rocket-in-the-night-sky"),
        ("Crème brûlée, ÅNGSTRÖM!", "creme-brulee-angstrom"),
        ("夜空を走る赤い狐、満月の下で", "夜空を走る赤い狐-満月の下で"),
        ("ガラスのロケット", "ガラスのロケット"),  # a mark that belongs to a letter is no accent
        ("ﾛｹｯﾄ　ＦＯＸ①", "ロケット-fox1"),
        ("一只红色的狐狸在夜空中奔跑", "一只红色的狐狸在夜空中奔跑"),
        ("Красный ёж летит, Й!", "красный-ёж-летит-й"),
        ("صاروخ أحمر في السماء ٣", "صاروخ-أحمر-في-السماء-٣"),
        ("एक लाल रॉकेट", "एक-लाल-रॉकेट"),
        ("smørrebrød ß", "smørrebrød-ß"),
        ("夜" * 60, "夜" * 30),  # 90 bytes
        ("夜、" + "赤" * 60, "夜-" + "赤" * 28),  # not the first word alone
        ("🦊🚀", "clip"),
        ("\u3164\u200b", "clip"),
        ("", "clip"),
        ("CON", "con-clip"),
        ("../../etc/passwd", "etc-passwd"),
        ("one two three four five six seven eight nine", "one-two-three-four-five-six-seven-eight"),
        ("x" * 60, "x" * 40),
    ],
)
def test_a_prompt_becomes_a_readable_slug(text, expected):
    assert slug(text) == expected


def test_letters_that_the_file_system_cannot_encode_are_dropped(monkeypatch):
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert (slug("夜空 fox"), slug("夜空")) == ("fox", "clip")


@given(st.text())
def test_any_prompt_gives_a_valid_file_name(text):
    name = slug(text)
    assert re.fullmatch(r"[^\W_][^-]*(-[^\W_][^-]*)*", name)
    assert all(char == "-" or unicodedata.category(char)[0] in "LNM" for char in name)
    assert name.isascii() <= bool(re.fullmatch("[a-z0-9-]+", name))
    assert unicodedata.is_normalized("NFKC", name) and not name.startswith("-")
    assert len(name) <= SLUG_LENGTH and len(name.encode()) <= SLUG_BYTES
    assert name not in RESERVED
    assert slug(name) == name


def test_the_default_name_contains_date_prompt_and_seed():
    assert output_name("a red fox", 2**64 - 1, WHEN) == "20260131_a-red-fox_18446744073709551615"


def test_every_documented_field_can_be_used():
    template = "-".join(f"{{{field}}}" for field in FIELDS)
    name = output_name("a fox", 7, WHEN, model="models/Toon You", index=3, template=template)
    assert name == "20260131-235958-a-fox-7-models-toon-you-3"


def test_a_template_can_contain_folders_and_padded_numbers():
    assert output_name("a fox", 7, WHEN, index=3, template="{model}/{index:03}", model="pocket") == "pocket/003"


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        ("{sed}", "did you mean `seed`?"),
        ("{quality}", "{index}"),
        ("{}", "{date}"),
        ("{seed.real}", "seed"),
        ("{seed", "{{"),
        ("{slug:d}", "{index:03}"),
        ("../{seed}", "default"),
        ("{seed}:{index}", "default"),
        ("aux", "default"),
        ("con/{seed}", "default"),
        ("{seed}.", "default"),
        ("", "default"),
        ("/{seed}", "default"),
    ],
)
def test_an_invalid_template_is_refused(template, hint):
    with pytest.raises(UsageError) as refusal:
        output_name("a fox", 7, WHEN, template=template)
    assert hint in (refusal.value.hint or "")


@pytest.mark.parametrize("spec", ["0999999999", ">9999999", ".9999999", "{0}", "{seed}", "03{a|b}", "x>5"])
def test_a_format_that_could_fill_the_memory_is_refused(spec):
    with pytest.raises(UsageError, match="unknown format") as refusal:
        output_name("a fox", 7, WHEN, template=f"{{seed:{spec}}}")
    assert refusal.value.hint
