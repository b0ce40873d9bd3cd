"""Texts at positions of a clip: lines of a file, keys of the command line, head and tail."""

import pytest

from animdiff_cli.core.curves import TextTrack
from animdiff_cli.core.prompt_travel import Travel, describe_prompt, parse_keys, parse_prompt_file, texts_of
from animdiff_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0: day\n8: night", Travel({"0": "day", "8": "night"})),
        ("sea,\nwide\n0: day\n50%: night\nfilm grain", Travel({"0": "day", "50%": "night"}, "sea, wide", "film grain")),
        ("0-12: day\n-1: night", Travel({"0-12": "day", "-1": "night"})),
        ("# a comment\n\n 1.5s :  (red:1.2) ball \n", Travel({"1.5s": "(red:1.2) ball"})),
        ('"0": "day",\n"16": "night"', Travel({"0": "day", "16": "night"})),
        ("16:9 portrait of a fox", Travel({}, "16:9 portrait of a fox")),
        ("\ufeff0: day", Travel({"0": "day"})),
        ("a fox\nat 10:30", Travel({}, "a fox, at 10:30")),
        ("a fox\n8:", Travel({"8": ""}, "a fox")),
    ],
)  # fmt: skip
def test_lines_are_read_as_in_sd_webui(text, expected):
    assert parse_prompt_file(text, "a.txt") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.txt is empty"),
        ("# only this\n\n", "a.txt is empty"),
        ("0: day\nwide\n8: night", "a.txt, line 3: the position `8` comes after lines without one"),
        ("0: day\n0: night", "a.txt, line 2: the position `0` is given twice"),
        ("0: day\n1-2-3: night", "a.txt, line 2: `1-2-3` is not a position"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text, message):
    with pytest.raises(UsageError, match=message) as error:
        parse_prompt_file(text, "a.txt")
    assert error.value.hint


@pytest.mark.parametrize(
    ("travel", "prompt", "expected"),
    [
        (Travel(), "a fox", "a fox"),
        (Travel({"50%": "night"}), "a fox", {"0": "a fox", "50%": "a fox, night"}),
        (Travel({"0": "day", "50%": "night"}), "a fox,", {"0": "a fox, day", "50%": "a fox, night"}),
        (Travel({"0-4": "day"}), "a fox", {"0-4": "a fox, day"}),
        (Travel({"50%": "night"}), "", {"50%": "night"}),
        (Travel({"8": ""}, "a", "b"), "", {"0": "a, b", "8": "a, b"}),
        (Travel({"8": "night"}, "wide", "old"), "a fox", {"0": "a fox, wide, old", "8": "a fox, wide, night, old"}),
        (Travel({}, "a long prompt"), "", "a long prompt"),
        (Travel({"0": "day"}), TextTrack.of({"0": "old"}), {"0": "day"}),
    ],
)  # fmt: skip
def test_the_prompt_is_put_before_each_text(travel, prompt, expected):
    assert travel.applied(prompt) == expected


@pytest.mark.parametrize("entry", ["50%", "=night", "half=night", "0:night"])
def test_a_key_of_the_command_line_needs_a_position_and_an_equals_sign(entry):
    with pytest.raises(UsageError, match="--prompt-at"):
        parse_keys([entry], "--prompt-at")


def test_a_key_may_hold_equals_signs_or_no_text_and_is_given_once():
    assert parse_keys(["0=", "100%= "], "--prompt-at") == {"0": "", "100%": ""}
    assert parse_keys(["0=a=b", "1=c"], "--prompt-at") == {"0": "a=b", "1": "c"}
    with pytest.raises(UsageError, match="`0` is given twice"):
        parse_keys(["0=a", "0=b"], "--prompt-at")


def test_texts_and_descriptions():
    track = TextTrack.of({"0": "day", "4": "night", "8": "day"})
    assert texts_of(track) == ("day", "night") and texts_of("fox") == ("fox",)
    assert describe_prompt(track.as_mapping()) == "day → night" and describe_prompt("fox") == "fox"
