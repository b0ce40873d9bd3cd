"""`--prompt -` reads prompts from stdin."""

import io
import os
import sys

import pytest
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.cli.stdin import read_stdin
from animdiff_cli.errors import UsageError
from tests.cli.test_prompts import planned


@pytest.fixture
def piped(here, toy):
    """Run `generate` as a dry run with text or bytes on stdin."""

    def run(stdin, *words):
        given = [str(word) for word in (*toy, *words, "--seed", 1, "--dry-run", "--json")]
        return CliRunner().invoke(app, given, input=stdin)

    return run


def test_every_line_is_a_prompt(piped):
    configs = planned(piped("\ufeffa fox\r\n\n  a red owl \n-\n# 1\u2028x", "--prompt", "-"))
    assert [config["prompt"] for config in configs] == ["a fox", "a red owl", "-", "# 1\u2028x"]


def test_other_prompts_keep_their_place(piped):
    configs = planned(piped("b\nc\n", "-p", "a", "-p", "-", "-p", "d", "--repeat", 2))
    assert [config["prompt"] for config in configs] == ["a", "a", "b", "b", "c", "c", "d", "d"]


def test_each_line_is_put_before_texts_at_positions(piped):
    configs = planned(piped("a fox\nan owl\n", "-p", "-", "--prompt-at", "0=by day", "--prompt-at", "1=at night"))
    assert [config["prompt"]["1"] for config in configs] == ["a fox, at night", "an owl, at night"]


@pytest.mark.parametrize(
    ("stdin", "words", "message"),
    [
        ("", [], "stdin has no prompts"),
        (" \n\n", [], "stdin has no prompts"),
        ("a\nb\0c\n", [], "stdin, line 2: has a NUL character"),
        (b"caf\xe9\n", [], "stdin is not text"),
        ("a\n", ["-p", "-"], "stdin can be read only once"),
        ("a\n", ["--prompt-file", "-"], "stdin can be read only once"),
        ("x" * ((16 << 20) + 1), [], "stdin has more than 16777216 bytes"),
    ],
    ids=["empty", "blank", "nul", "latin-1", "twice", "prompt-file", "endless"],
)
def test_other_input_is_refused_in_a_sentence(piped, stdin, words, message):
    result = piped(stdin, "-p", "-", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr and '"hint": "' in result.stderr


def test_a_terminal_is_refused_instead_of_waiting_for_text(monkeypatch):
    terminal, program = os.openpty()
    with open(terminal, "wb"), open(program, encoding="utf-8") as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(UsageError, match="stdin is a terminal") as raised:
            read_stdin("animdiff generate --prompt - < prompts.txt")
    assert raised.value.hint.endswith("`animdiff generate --prompt - < prompts.txt`")


def test_closed_stdin_is_empty(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(open(os.devnull, "rb")))  # noqa: PTH123, SIM115
    assert read_stdin("animdiff") == ""
