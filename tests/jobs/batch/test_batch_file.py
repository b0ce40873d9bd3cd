"""Batch files in every format: what is read, and on which line each mistake is reported."""

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.batch.file import parse_batch
from animdiff_cli.jobs.batch.mistakes import MAX_SHOWN, Mistakes


def parsed(text, name="night.yaml"):
    """Return the file and the messages of its mistakes."""
    mistakes = Mistakes()
    file = parse_batch(text, name, mistakes)
    try:
        mistakes.raise_found(name)
    except UsageError as error:
        return file, [str(part) for part in error.mistakes or (error,)]
    return file, []


def jobs(text, name):
    file, mistakes = parsed(text, name)
    assert mistakes == []
    return [(entry.line, {key: value.value for key, value in entry.values.items()}) for entry in file.jobs]


def test_values_of_yaml_have_their_lines():
    text = "defaults:\n  model: pocket\n  steps: 20\nmatrix:\n  seed:\n  - 1\n  - 2\n  prompt: [a, b]\noutput: x\n"
    file, _ = parsed(text)
    assert {key: value.line for key, value in file.defaults.values.items()} == {"model": 2, "steps": 3}
    assert [(value.value, value.line) for value in file.matrix["seed"].value] == [(1, 6), (2, 7)]
    assert [value.line for value in file.matrix["prompt"].value] == [8, 8]
    assert (file.output.value, file.output.line) == ("x", 9)


def test_entries_of_yaml_have_their_lines():
    file, _ = parsed("jobs:\n- prompt: a\n  seed: 1\n- {prompt: b}\n")
    assert [(entry.line, entry.values["prompt"].value) for entry in file.jobs] == [(2, "a"), (4, "b")]
    assert file.jobs[0].values["seed"].line == 3


def test_a_list_is_a_list_of_jobs():
    assert jobs('[{"prompt": "a"},\n{"prompt": "b", "seed": 2}]', "a.json") == [
        (1, {"prompt": "a"}),
        (2, {"prompt": "b", "seed": 2}),
    ]
    assert parsed("- prompt: a\n- b\n")[1] == ["night.yaml, line 2: a job must have keys and values"]


def test_every_key_that_is_given_twice_is_reported():
    text = "defaults: {model: pocket, model: toonyou}\nmatrix:\n  prompt: [a]\n  seed: [1]\n  seed: [2]\n"
    assert parsed(text)[1] == [
        "night.yaml, line 1: `model` is given twice",
        "night.yaml, line 5: `seed` is given twice",
    ]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("matrix: {prompt: [a]}\noutputs: x", ["night.yaml, line 2: unknown key `outputs`"]),
        ("matrix: {prompt: [a]}\nsteps: 3", ["night.yaml, line 2: `steps` is a setting"]),
        ("matrix:\n- prompt: a", ["night.yaml, line 1: `matrix` must have keys and values"]),
        ("matrix: {prompt: [a]}\ninclude: {a: 1}", ["night.yaml, line 2: `include` must be a list"]),
        ("jobs:\n- {prompt: a}\n- b", ["night.yaml, line 3: `jobs` must have keys and values"]),
        ("jobs: [{prompt: a}]\nzip: {seed: [1]}", ["night.yaml, line 1: `jobs` and `zip` cannot be combined"]),
    ],
)
def test_the_structure_of_yaml_is_checked(text, messages):
    assert parsed(text)[1] == messages


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "night.yaml", "has no keys"),
        ("a", "night.yaml", "has no keys"),
        ("[]", "night.yaml", "has no keys"),
        ("defaults: {model: pocket}", "night.yaml", "has no jobs"),
        ("matrix: {prompt: [a}", "night.yaml", "line 1"),
        ("", "prompts.txt", "has no jobs"),
        ("\n# nothing\n", "stdin", "has no jobs"),
        ("prompt,seed\n", "a.csv", "has no jobs"),
        ("a\0b", "prompts.txt", "line 1: has a NUL character"),
    ],
)
def test_a_file_without_jobs_is_refused(text, name, message):
    with pytest.raises(UsageError, match=message) as caught:
        parsed(text, name)
    assert caught.value.hint


def test_one_prompt_a_line():
    text = "\ufeffa red rocket\r\n\r\n# later\r\n  {red|blue} ball \r\n"
    assert jobs(text, "stdin") == [(1, {"prompt": "a red rocket"}), (4, {"prompt": "{red|blue} ball"})]


def test_one_object_a_line():
    text = '{"prompt": "a", "seed": 1}\n\n{"prompt": {"0": "day", "50%": "night"}, "loras": ["x@0.5"]}\n'
    wanted = [
        (1, {"prompt": "a", "seed": 1}),
        (3, {"prompt": {"0": "day", "50%": "night"}, "loras": ["x@0.5"]}),
    ]
    for name in ("jobs.jsonl", "jobs.ndjson", "stdin"):
        assert jobs(text, name) == wanted


def test_yaml_from_a_pipe_is_not_read_as_prompts():
    file, _ = parsed("# tonight\ndefaults:\n  model: pocket\nmatrix:\n  prompt: [a]\n", "stdin")
    assert list(file.matrix) == ["prompt"]


def test_lines_that_are_not_objects_are_all_reported():
    text = '{"prompt": "a"}\n{"prompt": "b"\n["c"]\n{"seed": 1, "seed": 2}\n{"prompt": NaN}\n'
    assert parsed(text, "a.jsonl")[1][:3] == [
        "a.jsonl, line 2: not JSON: expecting ',' delimiter",
        "a.jsonl, line 3: not an object",
        "a.jsonl, line 4: `seed` is given twice",
    ]


def test_a_table_with_quotes_and_line_ends_in_cells():
    text = 'prompt,seed,motion_loras,output\n"a red, fast\nrocket",1,,first\n\n"a ""fish""",2,pocket-pan-right@0.5,\n'
    assert jobs(text, "a.csv") == [
        (2, {"prompt": "a red, fast\nrocket", "seed": "1", "output": "first"}),
        (5, {"prompt": 'a "fish"', "seed": "2", "motion_loras": ("pocket-pan-right@0.5",)}),
    ]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ";"), ("a.tsv", "\t"), ("a.csv", ",")])
def test_separators_of_spreadsheets(name, separator):
    text = separator.join(["prompt", "seed"]) + "\n" + separator.join(["a fish", "2"]) + "\n"
    assert jobs(text, name) == [(2, {"prompt": "a fish", "seed": "2"})]


def test_mistakes_in_a_table_have_their_lines():
    text = 'prompt,seed,seed,\na,1\n"b\nc",1,2,3,4\n'
    assert parsed(text, "a.csv")[1] == [
        "a.csv, line 1: `seed` is given twice",
        "a.csv, line 1: column 4 has no name",
        "a.csv, line 3: 5 values for 4 columns",
    ]


def test_a_quote_that_does_not_end_is_reported():
    assert parsed('prompt\n"a\n', "a.csv")[1] == ["a.csv, line 2: unexpected end of data"]


def test_the_same_mistake_is_listed_once_with_its_lines():
    mistakes = Mistakes()
    for line in (3, 9, 12):
        mistakes.add(UsageError("not an object"), f"a.jsonl, line {line}")
    with pytest.raises(UsageError, match=r"^a.jsonl, line 3: not an object \(so on lines 9, 12\)$"):
        mistakes.raise_found("a.jsonl")


def test_many_mistakes_are_counted():
    mistakes = Mistakes()
    for number in range(MAX_SHOWN + 5):
        mistakes.add(UsageError(f"wrong: {number}"))
    with pytest.raises(UsageError, match=f"a.yaml has {MAX_SHOWN + 5} mistakes") as caught:
        mistakes.raise_found("a.yaml")
    assert len(caught.value.mistakes) == MAX_SHOWN
    assert "5 more" in caught.value.hint
