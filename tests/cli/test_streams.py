import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import zeros

import animdiff_cli
from animdiff_cli.cli import app
from animdiff_cli.cli.out import print_err, print_json, print_out, print_paths
from animdiff_cli.cli.streams import run
from animdiff_cli.outputs import read_recipe


def test_stdout_holds_the_path_and_nothing_else(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1)
    assert result.exit_code == 0
    path = result.stdout.removesuffix("\n")
    assert files() == [path]
    assert path.startswith("animdiff-out/") and path.endswith("_a-fox_1.gif")


def test_a_script_can_catch_the_path(script, toy, here):
    bash = 'gif=$("$@" -q) && printf "%s" "$gif"'
    done = subprocess.run(
        ["bash", "-c", bash, "bash", script, *toy, "--prompt", "a fox", "-o", "a fox.gif"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("a fox.gif", "")
    assert read_recipe(here / done.stdout)["config"]["prompt"] == "a fox"


def test_without_a_terminal_progress_is_plain_lines_on_stderr(animdiff, toy):
    lines = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "-o", "fox.gif").stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "loading motion module toy_mm.safetensors",
        "loading image model toy",
        "step 1/2",
        "step 2/2",
        "decoded 2 frames",
        "writing fox.gif",
    ]


def test_quiet_leaves_stderr_empty(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif", "-q")
    assert (result.stdout, result.stderr) == ("fox.gif\n", "")


def test_a_seed_that_was_drawn_is_reported(animdiff, toy, here):
    result = animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif")
    seed = read_recipe(here / "fox.gif")["config"]["seed"]
    assert f"note: seed {seed}, drawn at random" in result.stderr
    assert seed < 2**32


def test_notes_are_part_of_the_json(animdiff, toy, records):
    result = animdiff(*toy, "--prompt", "a [fox|owl]", "--json", "--seed", 1)
    (done,) = records(result, "done")
    assert [record["message"] for record in records(result, "note")] == done["notes"]
    assert len(done["notes"]) == 1 and "[fox|owl]" in done["notes"][0]


def test_errors_are_two_lines_on_stderr(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "--width", 65)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: --width: `width` must be a whole number from 8 up to 8192, a multiple of 8, got `65`",
        "hint: try `64` or `72`",
    ]


def test_errors_are_one_json_object_on_stderr_where_json_was_asked_for(animdiff, toy):
    for wrong in (["--width", 65], ["--wdith", 64], ["--steps", "many"]):
        result = animdiff(*toy, "--prompt", "a fox", *wrong, "--json")
        record = json.loads(result.stderr)
        assert set(record) == {"error", "hint", "code"}
        assert record["code"] == result.exit_code == 2
        assert result.stdout == ""


def test_a_dry_run_names_the_files_and_makes_none(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "-o", "night/", "-f", "gif", "-f", "mp4", "--dry-run")
    assert [path.rpartition("_")[2] for path in result.stdout.splitlines()] == ["1.gif", "1.mp4"]
    assert result.stderr.startswith("would render 1 clip of 2 frames of 64x64:")
    assert files() == []


def test_a_dry_run_in_json_holds_the_settings(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--dry-run", "--json", "--device", "cpu")
    plan = json.loads(result.stdout)
    assert plan["device"] == "cpu"
    assert plan["config"]["steps"] == 2
    assert files() == []


@pytest.fixture
def stream(monkeypatch):
    """Replace a standard stream while a test runs."""

    def replaced(name, file):
        monkeypatch.setattr(sys, name, file)
        return file

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # `run` replaces both
    return replaced


def test_a_full_disk_below_stdout_loses_no_clip(here, toy, files, stream, capsys):
    stream("stdout", Path("/dev/full").open("w"))  # noqa: SIM115
    words = [*toy, "-p", "a fox", "--seed", "1", "--seed", "2", "-q", "-o", "o/"]
    assert run(lambda: app(words)) == 2
    assert len(files()) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: cannot write to stdout: no space left on the disk",
        "hint: files named by `-o` are written; direct stdout elsewhere to get the rest",
    ]


def test_a_reader_that_has_left_is_no_failure(stream, capsys):
    read, write = os.pipe()
    os.close(read)
    stream("stdout", os.fdopen(write, "w"))
    assert run(lambda: [print_out("x" * 100_000), print_paths("a"), print_json({})]) == 0
    assert capsys.readouterr().err == ""


def test_what_stdout_cannot_encode_is_escaped(stream):
    written = io.BytesIO()
    stream("stdout", io.TextIOWrapper(written, "ascii"))
    assert run(lambda: [print_out("🚀"), print_json({"prompt": "🚀"})]) == 0
    text, record = written.getvalue().decode("ascii").splitlines()
    assert text == r"\U0001f680"
    assert json.loads(record) == {"prompt": "🚀"}


def test_errors_never_reach_stdout_when_stderr_is_closed(script, here):
    done = subprocess.run(["bash", "-c", '"$@" 2>&-', "bash", script, "presets", "show", "nosuch"], capture_output=True)
    assert (done.returncode, done.stdout) == (3, b"")


def test_a_closed_stdout_is_no_failure(stream, capsys):
    stream("stdout", None)
    assert run(lambda: [print_out("x"), print_paths("x"), print_json({}), print_err("note")]) == 0
    assert capsys.readouterr().err == "note\n"


def test_a_deleted_folder_is_named(animdiff, here):
    here.rmdir()
    result = animdiff("presets", "list")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: the current folder no longer exists\nhint: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("HF_ENDPOINT", "http://[::1"), ("HF_HUB_ETAG_TIMEOUT", "soon"), ("HF_HUB_DOWNLOAD_TIMEOUT", "")],
)
def test_a_variable_that_breaks_the_import_of_a_library_is_named(animdiff, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    result = animdiff("presets", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: `{name}` is not ")


def test_a_script_gets_the_bytes_of_a_path(stream):
    written = io.BytesIO()
    stream("stdout", io.TextIOWrapper(written, "utf-8"))
    run(lambda: print_paths("caf\udce9\x1b.gif"))
    assert written.getvalue() == b"caf\xe9\\x1b.gif\n"


HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202e\x9b31m"


def test_control_characters_of_weights_and_recipes_are_escaped(animdiff, here):
    save_file({"emb_params": zeros(1, 768)}, here / f"a{HOSTILE}.safetensors", {HOSTILE: HOSTILE})
    (here / "r.json").write_text(json.dumps({"animdiff": 1, "config": {"prompt": HOSTILE, "model": HOSTILE}}))
    for words in (
        ["inspect", f"a{HOSTILE}.safetensors", "--no-hash"],
        ["inspect", f"a{HOSTILE}.safetensors", "--no-hash", "--json"],
        ["inspect", "r.json"],
        ["inspect", "r.json", "--json"],
        ["inspect", f"{HOSTILE}.gif"],
        ["generate", "--from", "r.json", "--dry-run"],
        ["generate", "--from", "r.json", "--dry-run", "--json"],
        ["models", "show", HOSTILE],
        ["models", "list", f"--{HOSTILE}"],
        [HOSTILE],
    ):
        result = animdiff(*words)
        output = result.stdout + result.stderr
        assert "pwned" in output
        assert not set("\x1b\x07\x9b\u202e") & set(output), words


def test_only_the_escaping_functions_print():
    package = Path(animdiff_cli.__file__).parent
    for path in set(package.rglob("*.py")) - {package / "cli" / "out.py"}:
        calls = (node.func for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
        assert not [call for call in calls if ast.unparse(call) in ("print", "typer.echo", "sys.stdout.write")], path
