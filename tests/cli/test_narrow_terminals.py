"""Tables on a terminal break between words and lose nothing; a pipe gets one line per row."""

import pytest
import yaml

from animdiff_cli.cli.out import print_summary
from animdiff_cli.paths import pocket_dir

TABLES = [
    ["models", "list", "--all"],
    ["models", "show", "mm-v3"],
    ["models", "show", "pocket-pan-right"],
    ["presets", "list"],
    ["inspect", pocket_dir()],
    ["fetch", "mm-v3", "v3-adapter", "--dry-run", "--offline"],
]


@pytest.fixture
def on_terminal(animdiff, monkeypatch):
    """Run a command on a terminal of some columns and return what it prints to stdout."""

    def call(columns, *words):
        with monkeypatch.context() as patch:
            patch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
            patch.setenv("COLUMNS", str(columns))
            return animdiff(*words).stdout

    return call


@pytest.mark.parametrize("words", TABLES, ids=[" ".join(map(str, words[:2])) for words in TABLES])
@pytest.mark.parametrize("columns", [70, 60])
def test_every_word_of_a_table_is_on_the_screen(animdiff, on_terminal, words, columns):
    piped, shown = animdiff(*words).stdout, on_terminal(columns, *words)
    assert shown.split() == piped.split()
    too_long = [line for line in shown.splitlines() if len(line) > columns]
    assert all(len(line.split()) == 1 for line in too_long)  # one word, which can be copied
    assert any(len(line) > columns for line in piped.splitlines())


def test_settings_on_a_narrow_terminal_are_a_config_file_too(animdiff, on_terminal):
    words = ["config", "show", "-m", "pocket", "--set", f"negative_prompt={'many words, ' * 20}end"]
    words += ["--set", "loras=pocket-crayon@0.5,pocket-neon@0.5,film-velvia@0.5,lcm-lora-sd15@0.5"]
    shown = on_terminal(50, *words)
    assert yaml.safe_load(shown) == yaml.safe_load(animdiff(*words).stdout)
    assert shown.count("# --set") == 2 and max(map(len, shown.splitlines())) <= 60


def test_a_summary_breaks_between_words_on_a_terminal_only(capsys, monkeypatch):
    print_summary("would render " * 10)
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_summary("would render " * 10)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 40 and " ".join(lines).split() == ["would", "render"] * 10
