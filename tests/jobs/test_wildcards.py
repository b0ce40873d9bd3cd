"""Variants and wildcards of prompts, drawn by the seed."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animdiff_cli.core.curves import TextTrack
from animdiff_cli.core.prompt_variants import variant_spans
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.wildcards import check_wildcards, draw_prompt


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "colour.txt").write_text("red\n# not this\nblue\n\ngreen\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/ball.txt").write_text("{big|small} __colour__ ball\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "loop.txt").write_text("__loop__\n")
    (tmp_path / "bad.txt").write_text("a __nowhere__\n")
    return tmp_path


def drawn(prompt, folder=None, seeds=range(30)):
    return {draw_prompt(prompt, seed, folder) for seed in seeds}


def test_every_choice_is_drawn_and_the_same_seed_draws_the_same(folder):
    assert drawn("a {red|blue} ball") == {"a red ball", "a blue ball"}
    assert drawn("a __colour__ ball", folder) == {"a red ball", "a blue ball", "a green ball"}
    assert drawn("{2$$a|b|c}") == {f"{one},{other}" for one in "abc" for other in "abc" if one != other}
    assert drawn("__sub/ball__", folder) == {
        f"{size} {c} ball" for size in ("big", "small") for c in ("red", "blue", "green")
    }
    assert draw_prompt("{a|b|c|d} __colour__", 7, folder) == draw_prompt("{a|b|c|d} __colour__", 7, folder)


@pytest.mark.parametrize(
    "prompt",
    [
        "a #1 hero, 100% $5 ${x} (red:1.2) [a|b] <lora:a_b:1>",
        r"a \{red|blue\} ball \__colour__",
        "a {x} and {} and { and }",
        "snake__case__x __init __",
        "",
    ],
)
def test_everything_else_is_text(prompt):
    assert draw_prompt(prompt, 1, None) == prompt


def test_text_around_a_choice_stays_as_it_is():
    assert drawn("a #1 {hero|heroine}, 100%  (red:1.2)\n$5", seeds=range(9)) == {
        "a #1 hero, 100%  (red:1.2)\n$5",
        "a #1 heroine, 100%  (red:1.2)\n$5",
    }


def test_what_is_drawn_is_not_drawn_again(folder):
    for seed in range(5):
        once = draw_prompt(r"{a|b} \{c|d\} __colour__", seed, folder)
        assert draw_prompt(once, seed + 1, None) == once


def test_texts_of_one_clip_that_begin_alike_are_drawn_alike():
    track = TextTrack.of({"0": "a {red|blue|green} boat, day", "50%": "a {red|blue|green} boat, night"})
    for seed in range(9):
        (_, day), (_, night) = draw_prompt(track, seed, None).keys
        assert day.partition(",")[0] == night.partition(",")[0]


@pytest.mark.parametrize(
    ("prompt", "error", "message", "hint"),
    [
        ("a __clour__ ball", NotFound, "no file for the wildcard `__clour__`", "colour"),
        ("a {__size__|b}", NotFound, "no file for the wildcard `__size__`", "add a file size.txt"),
        ("__empty__", NotFound, "or it is empty", "add a file empty.txt"),
        ("__bad__", NotFound, "`__nowhere__`", "add a file nowhere.txt"),
        ("__loop__", UsageError, "leads back to itself", "correct the wildcard files"),
        ("{a|{b}", UsageError, None, None),
        ("{a|$b{c|d}}", UsageError, "is not a valid choice of words", "write `{red|blue}`"),
    ],
)
def test_what_cannot_be_drawn_is_refused(folder, prompt, error, message, hint):
    if message is None:
        assert draw_prompt(prompt, 1, folder) == prompt
        return
    with pytest.raises(error, match=message) as raised:
        draw_prompt(prompt, 1, folder)
    assert hint in raised.value.hint


def test_without_a_folder_wildcards_are_refused_with_the_flag(tmp_path):
    with pytest.raises(NotFound, match="no folder of wildcards was given") as error:
        draw_prompt("a __colour__ ball", 1, None)
    assert "--wildcards" in error.value.hint
    with pytest.raises(NotFound, match="no folder"):
        check_wildcards(tmp_path / "nowhere")


@given(st.text(alphabet=r"ab{}|_$:1\ ", max_size=20))
def test_spans_lie_in_order_and_inside_the_prompt(prompt):
    spans = [(0, 0), *variant_spans(prompt)]
    assert all(before[1] <= after[0] < after[1] <= len(prompt) for before, after in pairwise(spans))


@settings(max_examples=30)
@given(st.text(alphabet="ab{}|$2 ", max_size=14))
def test_any_prompt_is_drawn_or_refused(prompt):
    try:
        assert isinstance(draw_prompt(prompt, 1, None), str)
    except UsageError as error:
        assert error.hint
