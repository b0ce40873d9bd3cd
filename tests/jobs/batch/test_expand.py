"""From a batch file to its jobs: products, rows, what is included and what is left out."""

from itertools import product
from pathlib import Path

import pytest

from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.jobs.batch.expand import expand
from animdiff_cli.jobs.batch.file import parse_batch
from animdiff_cli.jobs.batch.mistakes import Mistakes


def expanded(text, limit=100):
    mistakes = Mistakes()
    entries = expand(parse_batch(text, "night.yaml", mistakes), limit, mistakes)
    mistakes.raise_found("night.yaml")
    return entries


def rows(text, *keys):
    return [tuple(entry.values[key].value if key in entry.values else None for key in keys) for entry in expanded(text)]


def messages(text):
    with pytest.raises(AnimdiffError) as caught:
        expanded(text)
    return [str(part) for part in caught.value.mistakes or (caught.value,)]


MATRIX = "matrix:\n  prompt: [a, b]\n  seed: [1, 2, 3]\n  steps: [5, 9]\n"


def test_a_matrix_is_the_product_of_its_lists():
    assert rows(MATRIX, "prompt", "seed", "steps") == list(product("ab", (1, 2, 3), (5, 9)))


def test_a_range_of_whole_numbers():
    assert rows("matrix: {prompt: [a], seed: 7..10}", "seed") == [(7,), (8,), (9,), (10,)]
    assert rows("matrix: {prompt: [a], seed: 18446744073709551615..18446744073709551615}", "seed") == [(2**64 - 1,)]


def test_values_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\ufeffa fox\n\n# later\n a cat \n", encoding="utf-8")
    Path("seeds.txt").write_text("4\n18446744073709551615\n")
    text = "matrix: {prompt: {file: prompts.txt}, seed: {file: seeds.txt}}"
    assert rows(text, "prompt", "seed") == [(p, s) for p in ("a fox", "a cat") for s in (4, 2**64 - 1)]
    Path("seeds.txt").write_text("4\nx\n")
    Path("prompts.txt").write_text("")
    assert [message.partition(" must")[0] for message in messages(text)] == [
        "night.yaml, line 1: `prompts.txt` is empty",
        "night.yaml, line 1: `seed`",
    ]
    assert messages("matrix: {prompt: {file: x.txt}}") == ["night.yaml, line 1: no file `x.txt`"]


def test_zip_takes_values_row_by_row_with_every_combination():
    text = "zip: {steps: [5, 9], scheduler: [euler, ddim]}\nmatrix: {prompt: [a, b]}"
    assert rows(text, "steps", "scheduler", "prompt") == [
        (5, "euler", "a"),
        (5, "euler", "b"),
        (9, "ddim", "a"),
        (9, "ddim", "b"),
    ]


def test_exclude_leaves_out_what_agrees_in_all_its_keys():
    text = MATRIX + "exclude:\n- {prompt: a, seed: 2}\n- {steps: 9, seed: 3}\n"
    wanted = [(p, s, n) for p, s, n in product("ab", (1, 2, 3), (5, 9)) if (p, s) != ("a", 2) and (s, n) != (3, 9)]
    assert rows(text, "prompt", "seed", "steps") == wanted


def test_values_are_compared_as_settings_not_as_text():
    text = 'matrix: {prompt: [a], loras: [[], [x], [y]]}\nexclude: [{loras: x}, {loras: ["y"]}]'
    assert rows(text, "loras") == [((),)]


def test_include_adds_settings_or_a_job():
    text = MATRIX + "include:\n- {prompt: a, seed: 2, width: 64}\n- {prompt: c, seed: 1, width: 32}\n"
    found = rows(text, "prompt", "seed", "width")
    assert [row for row in found if row[2]] == [("a", 2, 64), ("a", 2, 64), ("c", 1, 32)]
    assert len(found) == 13 and found[-1][0] == "c"


def test_jobs_are_taken_as_they_are():
    assert rows("jobs: [{prompt: a, seed: 1}, {prompt: b, steps: 3}]", "prompt", "seed", "steps") == [
        ("a", 1, None),
        ("b", None, 3),
    ]


def test_the_name_of_a_job_is_its_place_and_what_tells_it_apart():
    on_one_line = expanded("matrix: {prompt: [a, b], seed: [1, 2], steps: [5]}")
    assert [entry.name for entry in on_one_line][:2] == [
        "night.yaml:1, prompt a, seed 1",
        "night.yaml:1, prompt a, seed 2",
    ]
    assert [entry.name for entry in expanded("matrix:\n  prompt:\n  - a\n  - b\n  loras: [[], x]\n")] == [
        "night.yaml:3, loras none",
        "night.yaml:3, loras x",
        "night.yaml:4, loras none",
        "night.yaml:4, loras x",
    ]
    assert [entry.name for entry in expanded("jobs:\n- prompt: a\n- prompt: a\n")] == ["night.yaml:2", "night.yaml:3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("matrix: {prompt: [a], seed: 1}", "`matrix.seed` must be a list"),
        ("matrix: {prompt: [a], seed: []}", "`matrix.seed` is empty"),
        ("matrix: {prompt: [a], seed: 5..1}", "`5..1` is 0 values"),
        ("matrix: {prompt: [a], guidance_scale: 1..5}", "`matrix.guidance_scale` must be a list"),
        ("matrix: {prompt: [a], seed: [1, 2, 1]}", "`1` is twice in `matrix.seed`"),
        ("matrix: {prompt: [a], sede: [1]}", "unknown key `sede` in `matrix`"),
        ("zip: {sede: [1]}", "unknown key `sede` in `zip`"),
        ("matrix: {prompt: [a], output: [x]}", "unknown key `output` in `matrix`"),
        ("matrix: {prompt: [a]}\nzip: {prompt: [b]}", "line 2: `prompt` is in `matrix` and in `zip`"),
        ("zip:\n  prompt: [a, b]\n  seed: [1]", "line 2: the lists of `zip` differ in length: `prompt` 2, `seed` 1"),
        ("matrix: {prompt: [a]}\nexclude: [{prompt: b}]", "line 2: this entry of `exclude` matches no combination"),
        ("matrix: {prompt: [a]}\nexclude: [{seed: 1}]", "line 2: `seed` of `exclude` is not in the matrix"),
        ("matrix: {prompt: [a]}\ninclude: [{seed: 1}]", "line 2: this entry of `include` has no key of the matrix"),
        ("jobs: [{prompt: a}]\ninclude: [{prompt: a}]", "line 2: `include` needs a `matrix` or `zip`"),
        ("jobs: [{prompt: a, preset: pockt}]", "line 1: unknown preset `pockt`"),
        ("jobs: [{prompt: a fox, in the snow}]", "line 1: unknown key `in the snow`"),
        ("jobs: [{prompt: a, output: 3}]", "line 1: `output` must be text, got `3`"),
        ("jobs: [{prompt: a, formats: {gif: 1}}]", "line 1: `formats` must be a list of formats"),
    ],
)
def test_what_cannot_be_expanded_is_refused_with_its_line(text, message):
    (found,) = messages(text)
    assert found.startswith("night.yaml, line ") and message in found


def test_all_wrong_values_are_reported_at_once():
    text = "matrix:\n  prompt: [a]\n  seed:\n  - 1\n  - -2\n  steps: [0, 5, x]\ninclude:\n- {prompt: a, fps: 0}\n"
    assert [message.partition(" must")[0] for message in messages(text)] == [
        "night.yaml, line 5: `seed`",
        "night.yaml, line 6: `steps`",
        "night.yaml, line 6: `steps`",
        "night.yaml, line 8: `fps`",
    ]


def test_the_limit_is_counted_before_anything_is_listed():
    lists = ", ".join(f"{key}: {list(range(1, 800))}" for key in ("seed", "steps", "num_frames"))
    text = f"matrix: {{prompt: [a], {lists}, width: [64, 128]}}"
    with pytest.raises(UsageError, match=f"night.yaml, line 1: {799**3 * 2:,} jobs, and at most 10,000 are") as caught:
        expanded(text, limit=10_000)
    assert caught.value.hint == "shorten the lists"


def test_a_range_beyond_the_limit_is_not_listed():
    (message,) = messages("matrix: {prompt: [a], seed: 1..99999999999999}")
    assert "is 99,999,999,999,999 values" in message


def test_jobs_in_a_list_are_limited_too():
    with pytest.raises(UsageError, match="3 jobs, and at most 2") as caught:
        expanded("jobs: [{prompt: a}, {prompt: b}, {prompt: c}]", limit=2)
    assert "--limit 3" in caught.value.hint
