"""Text from strangers is escaped before it reaches a terminal or a file."""

import json

import pytest

from animdiff_cli.core.text import json_line, printable

HOSTILE = "\x1b]0;t\x07 \x9b2J \u202egnp.\u2066 \x7f \r\n\u2028 \udce9\ud800"


def test_control_characters_and_surrogates_are_escaped():
    assert printable(HOSTILE) == (
        r"\x1b]0;t\x07 \x9b2J \u202egnp.\u2066 \x7f \x0d\x0a\u2028 \xe9\ud800"
    )  # fmt: skip


@pytest.mark.parametrize("text", ["crème 🚀", "絵　画", "a\u00a0b", "👩\u200d🎨", r"C:\new", "שלום"])
def test_other_text_is_unchanged(text):
    assert printable(text) == text
    assert json.dumps(text, ensure_ascii=False) == json_line(text)


def test_json_keeps_the_value_and_escapes_the_same_characters():
    line = json_line({HOSTILE: HOSTILE})
    assert json.loads(line) == {HOSTILE: HOSTILE}
    assert printable(line) == line
    assert json.loads(json_line("🚀", ascii_only=True)) == "🚀"
    assert json_line("🚀", ascii_only=True).isascii()
