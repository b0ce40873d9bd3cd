"""YAML as people type it."""

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.config.yamlfile import parse_located_yaml, parse_yaml, read_mapping, read_yaml
from animdiff_cli.errors import NotFound, UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-3", -3),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("7.5", 7.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("2026-01-31", "2026-01-31"),
        ('"30"', "30"),
        ("a fox", "a fox"),
    ],
)
def test_a_plain_value_is_what_it_looks_like(text, value):
    read = parse_yaml(f"key: {text}", "test")["key"]
    assert read == value
    assert type(read) is type(value)


# beyond the first 65,536 characters, JSON escapes a character as two, which YAML does not know
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
#: YAML ends a key after 1,024 characters, and JSON spells one character with up to six
KEY = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=150)


@given(st.dictionaries(KEY, st.integers() | TEXT | st.booleans() | st.none(), max_size=5))
def test_json_is_read_as_json(content):
    assert parse_yaml(json.dumps(content), "test") == content


@given(st.text("ab:-?[]{}!&*#|>'\" \n01\x00", max_size=30))
def test_any_text_is_read_or_refused_with_a_hint(text):
    try:
        parse_yaml(text, "test")
    except UsageError as refusal:
        assert refusal.hint


@pytest.mark.parametrize("text", ["? [a]\n: b", f"seed: {'9' * 5000}", "a: \x07", "*a"])
def test_what_yaml_cannot_hold_is_refused(text):
    with pytest.raises(UsageError, match="test"):
        parse_yaml(text, "test")


def test_a_key_given_twice_is_refused_with_its_line():
    with pytest.raises(UsageError, match=r"look\.yaml, line 3: `steps` is given twice"):
        parse_yaml("steps: 1\nfps: 8\nsteps: 2\n", "look.yaml")


def test_a_colon_in_text_is_explained():
    with pytest.raises(UsageError, match="line 1") as refusal:
        parse_yaml("prompt: a: b", "look.yaml")
    assert "quotes" in (refusal.value.hint or "")


def test_yaml_builds_no_python_objects():
    with pytest.raises(UsageError, match="constructor"):
        parse_yaml("a: !!python/object/apply:os.getcwd []", "look.yaml")


def test_an_empty_file_holds_no_settings(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert read_mapping(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize("content", ["- a\n- b\n", "just text", "1: 2"])
def test_a_file_without_keys_is_refused(tmp_path, content):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UsageError, match="no keys and values"):
        read_mapping(tmp_path / "a.yaml")


def test_a_missing_file_and_a_folder_are_not_found(tmp_path):
    for path in (tmp_path / "gone.yaml", tmp_path):
        with pytest.raises(NotFound, match="no file"):
            read_yaml(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="cannot be read as text"):
        read_yaml(tmp_path / "a.yaml")


LAUGHS = "[&a [x, x], " + ", ".join(f"&a{'a' * i} [*a{'a' * (i - 1)}, *a{'a' * (i - 1)}]" for i in range(1, 40)) + "]"


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "&a [*a]",
        "&a {b: *a}",
        "a: &a {b: 1}\n!!merge <<: [*a, *a]",
        "[" * 500 + "]" * 500,
        "[" * 100_000,
        "a: " + "9" * 5000,
        "a: \x00",
        *(f"a: !!{value}" for value in ('bool "x"', 'int ""', "map [x]", 'timestamp "x"', "timestamp 2026-01-01")),
        *(f"a: !!{value}" for value in ("seq x", "set {x}", "binary eA==", "omap [x: 1]", "pairs [x: 1]", "float x")),
        "a: !!python/object/apply:os.system [true]",
    ],
)
def test_aliases_depth_and_tags_are_limited(text):
    with pytest.raises(UsageError) as refusal:
        parse_yaml(text, "test")
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [*x]", "test: a value contains itself"),
        ("- &x {b: [*x]}\n- *x", "test: a value contains itself"),
        ("a: 1\nb: " + "9" * 5000, "test, line 2: a number of 5,000 digits"),
        ("[" * 200 + "]" * 200, "test: nested more than 100 levels deep"),
        (LAUGHS, "test: more than 1,000,000 values"),
    ],
)
@pytest.mark.parametrize("parse", [parse_yaml, parse_located_yaml])
def test_what_is_too_large_is_said_plainly(parse, text, message):
    with pytest.raises(UsageError) as refusal:
        parse(text, "test")
    assert str(refusal.value) == message


def test_aliases_and_plain_tags_are_read():
    assert parse_yaml("a: &x [1]\nb: *x\nc: !!str 1\nd: !!float 1", "test") == {"a": [1], "b": [1], "c": "1", "d": 1.0}


def test_a_pipe_is_read_and_a_device_is_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("steps: 5",))
    writer.start()
    assert read_mapping(pipe) == {"steps": 5}
    writer.join()
    with pytest.raises(UsageError, match="not a regular file"):
        read_yaml(Path("/dev/zero"))
