"""Prompts of `generate` that change over the clip, from flags, files and recipes."""

import json

import numpy as np
import pytest

from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.read import read_clip


def planned(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line)["config"] for line in result.stdout.splitlines()]


@pytest.fixture
def plan(animdiff, toy):
    def run(*words):
        return planned(animdiff(*toy[:-6], "-L", 4, "--seed", 1, "--dry-run", "--json", *words))

    return run


def test_texts_at_positions_begin_with_the_prompt(plan):
    (config,) = plan("-p", "a field", "--prompt-at", "50%=at night", "--negative", "blur", "--negative-at", "-1=rain")
    assert config["prompt"] == {"0": "a field", "50%": "a field, at night"}
    assert config["negative_prompt"] == {"0": "blur", "-1": "blur, rain"}


def test_an_empty_text_means_the_prompt_alone(plan):
    (config,) = plan("-p", "a field", "--prompt-at", "0=at night", "--prompt-at", "100%=")
    assert config["prompt"] == {"0": "a field, at night", "100%": "a field"}


def test_every_prompt_travels(plan, here):
    configs = plan("-p", "a fox", "-p", "a fish", "--prompt-at", "0=day", "--prompt-at", "3=night")
    assert [config["prompt"]["3"] for config in configs] == ["a fox, night", "a fish, night"]


def test_a_file_holds_texts_or_one_long_prompt(plan, here, animdiff, toy):
    (here / "travel.txt").write_text("wide\n0-1: day\n100%: night\ngrain\n")
    (config,) = plan("--prompt-file", "travel.txt", "-p", "a fox")
    text = {where: f"a fox, wide, {time}, grain" for where, time in {"0": "day", "1": "day", "100%": "night"}.items()}
    assert config["prompt"] == text
    (here / "long.txt").write_text("a fox,\nin the snow\n")
    assert plan("--prompt-file", "long.txt")[0]["prompt"] == "a fox, in the snow"


def test_texts_may_stand_in_a_config_file(plan, here):
    (here / "look.yaml").write_text("prompt: {0: day, 50%: night}\nprompt_interpolation: slerp\nprompt_hold: 0.5\n")
    (config,) = plan("--config", "look.yaml")
    assert config["prompt"] == {"0": "day", "50%": "night"}
    assert (config["prompt_interpolation"], config["prompt_hold"]) == ("slerp", 0.5)
    (here / "look.yaml").write_text("prompt: a field\n")
    assert plan("--config", "look.yaml", "--prompt-at", "1=snow")[0]["prompt"] == {"0": "a field", "1": "a field, snow"}


def test_a_clip_that_travels_is_rendered_again_from_its_recipe(animdiff, toy, here):
    words = [*toy, "-p", "a fox", "--seed", 1, "--steps", 1]
    travel = ["--prompt-at", "0=day", "--prompt-at", "-1=(night:1.3)"]
    assert animdiff(*words, *travel, "-o", "{slug}.gif").stdout == "a-fox-day.gif\n"
    assert animdiff(*words, "-o", "still.gif").exit_code == 0
    assert animdiff("generate", "--from", "a-fox-day.gif", "-o", "again.gif").exit_code == 0
    again, still, first = (read_clip(here / name).frames for name in ("again.gif", "still.gif", "a-fox-day.gif"))
    assert np.array_equal(first, again) and not np.array_equal(first, still)
    assert read_recipe(here / "again.gif")["config"]["prompt"] == {"0": "a fox, day", "-1": "a fox, (night:1.3)"}
    assert "a fox, day" in animdiff("inspect", "again.gif").stdout
    done = animdiff(*words, *travel, "-o", "{slug}.gif", "--skip-existing")
    assert "exist already: 1 of 1" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--prompt-at", "50%"], 2, "--prompt-at 50%: expected where=text"),
        (["--prompt-at", "0=a", "--prompt-at", "50%="], 2, "the text at `50%` is empty"),
        (["-p", "a", "--negative-at", "1="], 2, "the text at `1` is empty"),
        (["--prompt-at", "0=a", "--prompt-at", "4=b"], 2, "there is no frame 4: the clip has 4 frames, 0 to 3"),
        (["--prompt-at", "2=a", "--prompt-at", "1=b"], 2, "`1` comes after `2`"),
        (["--prompt-at", "3=a", "--prompt-at", "100%=b"], 2, "`3` and `100%` are both frame 3"),
        (["--prompt-at", "3-1=a"], 2, "`1` comes after `3`"),
        (["--prompt-at", "0=a", "--prompt-at", "3=(b:nan)"], 2, "the weight nan in a prompt is not a number"),
        (["--prompt-at", "0=a", "--prompt-file", "a.txt"], 2, "--prompt-at and --prompt-file cannot be combined"),
        (["--prompt-file", "a.txt"], 3, "no file `a.txt`"),
        (["--prompt-file", "empty.txt"], 2, "empty.txt is empty"),
        (["--prompt-file", "latin.txt"], 2, "latin.txt: cannot be read as text"),
        (["--prompt-file", "."], 3, "no file `.`"),
        (["-p", "a", "--prompt-hold", "0.5"], 2, "`--prompt-hold` has no effect: the prompt does not change"),
        (["-p", "a", "--prompt-hold", "1.5"], 2, "`prompt_hold` must be a number from 0 up to 1"),
        (["-p", "a", "--negative-at", "1=b", "--guidance-scale", "1"], 2, "`--negative-at` has no effect"),
        (["-p", "a {b|c}", "--wildcards", "."], 2, "`--wildcards` has no effect"),
        (["-p", "__b__", "--wildcards", ".", "--prompt-syntax", "plain"], 2, "`--wildcards` has no effect"),
        (["-p", "a", "--negative", "__b__", "--wildcards", "."], 3, "no file for the wildcard `__b__`"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_weights_load(animdiff, toy, here, words, code, message):
    (here / "empty.txt").write_text("\n")
    (here / "latin.txt").write_bytes("0: café".encode("latin-1"))
    result = animdiff(*toy, "-L", 4, "--seed", 1, *words)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert "hint:" in result.stderr and "loading" not in result.stderr
    assert not (here / "animdiff-out").exists()


def test_words_are_drawn_by_the_seed_and_recipes_need_no_files(animdiff, toy, here):
    (here / "words").mkdir()
    (here / "words/colour.txt").write_text("red\nblue\ngreen\n")
    words = [*toy, "-p", r"a __colour__ {fox|fish} \{x\}", "--wildcards", "words", "--negative", "{a|b}", "--steps", 1]
    configs = planned(animdiff(*words, "--seed", 1, "--repeat", 12, "--dry-run", "--json"))
    prompts = [config["prompt"] for config in configs]
    assert len(set(prompts)) > 3 and {config["negative_prompt"] for config in configs} == {"a", "b"}
    assert all(prompt.endswith(r" \{x\}") and "__" not in prompt for prompt in prompts)
    assert animdiff(*words, "--seed", 1, "-o", "a.gif").exit_code == 0
    (here / "words/colour.txt").unlink()
    assert animdiff("generate", "--from", "a.gif", "-o", "b.gif").exit_code == 0
    recipes = [read_recipe(here / name)["config"] for name in ("a.gif", "b.gif")]
    assert recipes[0] == recipes[1] and recipes[0]["prompt"] == prompts[0]
    assert (here / "a.gif").read_bytes() == (here / "b.gif").read_bytes()
    missing = animdiff(*words, "--seed", 1)
    assert missing.exit_code == 3 and "no file for the wildcard `__colour__`" in missing.stderr
    assert (
        planned(animdiff(*toy, "-p", "{a|b}", "--seed", 1, "--prompt-syntax", "plain", "--dry-run", "--json"))[0][
            "prompt"
        ]
        == "{a|b}"
    )
