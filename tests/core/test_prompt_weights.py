r"""Weights in prompts: the meaning of A1111 for brackets, numbers, escapes and `BREAK`."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.prompt_weights import MAX_WEIGHT, Fragment, parse_weights
from animdiff_cli.errors import UsageError


def pairs(prompt):
    return [[(fragment.text, round(fragment.weight, 6)) for fragment in part] for part in parse_weights(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("normal text", [[("normal text", 1)]]),
        ("an (important) word", [[("an ", 1), ("important", 1.1), (" word", 1)]]),
        ("(unbalanced", [[("unbalanced", 1.1)]]),
        (r"\(literal\]", [[("(literal]", 1)]]),
        ("(unnecessary)(parens)", [[("unnecessaryparens", 1.1)]]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                [
                    ("a ", 1),
                    ("house", 1.573),
                    (" ", 1.1),
                    ("on", 1),
                    (" a ", 1.1),
                    ("hill", 0.55),
                    (", sun, ", 1.1),
                    ("sky", 1.4641),
                    (".", 1.1),
                ]
            ],
        ),
        ("a (red: 1.3 ) ball", [[("a ", 1), ("red", 1.3), (" ball", 1)]]),
        ("(red:-.5)", [[("red", -0.5)]]),
        ("(a ratio of 16:9)", [[("a ratio of 16", 9)]]),
        ("16:9) and 10:30", [[("16:9) and 10:30", 1)]]),
        ("[red:0.5]", [[("red:0.5", 0.909091)]]),
        ("a BREAK in (snow BREAK at) night", [[("a", 1)], [("in ", 1), ("snow", 1.1)], [("at", 1.1), (" night", 1)]]),
        ("BREAK a BREAK", [[], [("a", 1)]]),
        ("BREAKFAST", [[("BREAKFAST", 1)]]),
        ("(embedding:cat:1.2)", [[("embedding:cat", 1.2)]]),
        ("", [[]]),
    ],
)  # fmt: skip
def test_prompts_mean_what_they_mean_in_a1111(prompt, expected):
    assert pairs(prompt) == expected


PLAIN = st.text(alphabet="ab ,.:|{}é🦊", max_size=8)
TREES = st.recursive(
    PLAIN.map(lambda text: ("text", text)),
    lambda inner: st.tuples(
        st.sampled_from(["round", "square", 0.5, 1.25, -1.5]), st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


def written(tree):
    kind, content = tree
    if kind == "text":
        return content.replace(":", " ")
    inside = "".join(map(written, content))
    return {"round": f"({inside})", "square": f"[{inside}]"}.get(kind, f"({inside}:{kind})")


def expected_characters(tree, factor=1.0):
    kind, content = tree
    if kind == "text":
        return [(character, factor) for character in content.replace(":", " ")]
    inner = factor * {"round": 1.1, "square": 1 / 1.1}.get(kind, kind)
    return [pair for child in content for pair in expected_characters(child, inner)]


@given(st.lists(TREES, max_size=3))
def test_each_character_has_the_product_of_the_brackets_around_it(trees):
    parts = parse_weights("".join(map(written, trees)))
    found = [(character, each.weight) for part in parts for each in part for character in each.text]
    expected = [pair for tree in trees for pair in expected_characters(tree)]
    assert [character for character, _ in found] == [character for character, _ in expected]
    assert all(math.isclose(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))


@given(st.text(max_size=30).filter(lambda text: "BREAK" not in text))
def test_escaped_text_is_itself(text):
    escaped = re.sub(r"([\\()\[\]])", r"\\\1", text)
    assert parse_weights(escaped) == ((Fragment(text),) if text else (),)


@given(st.text(alphabet="a()[]\\:.19eBREAK inf\n", max_size=40))
def test_any_text_is_parsed_or_refused(prompt):
    try:
        parts = parse_weights(prompt)
    except UsageError as error:
        assert "weight" in str(error)
        return
    assert all(each.text and abs(each.weight) <= MAX_WEIGHT for part in parts for each in part)


@pytest.mark.parametrize("weight", ["nan", "inf", "-Inf", "1.2.3", "1e5", "11", "-10.1", "."])
def test_a_weight_that_cannot_be_meant_is_refused(weight):
    with pytest.raises(UsageError, match=r"the weight .* in a prompt is not a number from -10 to 10") as error:
        parse_weights(f"a (fox:{weight})")
    assert "`(word:1.2)`" in error.value.hint


def test_brackets_that_multiply_beyond_reason_are_refused():
    assert len(parse_weights("(" * 24 + "x")) == 1
    with pytest.raises(UsageError, match="the weight"):
        parse_weights("(" * 25 + "x")
