import subprocess
import sys

import pytest
from typer.main import get_command

from animdiff_cli.cli import app

#: what scripts rely on; a flag leaves this list only with a note in the changelog
CONTRACT = """
--prompt -p --model -m --motion-module --negative -n --seed -s --repeat --steps --guidance-scale --scheduler --clip-skip
--frames -L --fps --width -W --height -H --output -o --format -f --overwrite --device --dtype --preset --config --set
--from --no-motion --dry-run --json --quiet -q --help -h
"""
PANELS = [
    "Models",
    "Control",
    "Prompt",
    "Sampling",
    "Motion",
    "Length",
    "Pictures",
    "Output",
    "Device",
    "Sources",
    "General",
]


def every_command(command=None, words=()):
    command = command or get_command(app)
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, (*words, name))


@pytest.mark.parametrize("words", [words for words, _ in every_command()], ids=" ".join)
def test_every_command_explains_itself(animdiff, words):
    for flag in ("--help", "-h"):
        result = animdiff(*words, flag)
        assert result.exit_code == 0
        assert " ".join(["Usage: animdiff", *words]) in result.stdout


def test_every_flag_of_every_command_says_what_it_does():
    for words, command in every_command():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{words}: {parameter.name}"


def test_no_flag_means_two_things_in_one_command():
    for words, command in every_command():
        flags = [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
        assert len(flags) == len(set(flags)), words


def test_a_short_flag_means_the_same_in_every_command():
    meanings = {}
    for _, command in every_command():
        for parameter in command.params:
            for short in [flag for flag in parameter.opts if len(flag) == 2]:
                meanings.setdefault(short, set()).add(parameter.name)
    assert {short: names for short, names in meanings.items() if len(names) > 1} == {}
    assert meanings["-L"] == {"frames"}


def test_generate_names_every_flag_of_the_contract(animdiff, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    words = animdiff("generate", "--help").stdout.split()
    assert [flag for flag in CONTRACT.split() if flag not in words] == []


def test_panels_come_in_the_order_one_thinks_in(animdiff):
    titles = [line.split()[1] for line in animdiff("generate", "--help").stdout.splitlines() if line.startswith("╭")]
    assert titles == PANELS


def test_exit_codes_are_listed(animdiff):
    said = " ".join(animdiff("--help").stdout.split())
    for words in (
        "0 done",
        "1 a bug",
        "2 usage",
        "3 not found",
        "4 network",
        "5 damaged",
        "6 device",
        "7 clips",
        "130 interr",
    ):
        assert words in said


@pytest.mark.parametrize("words", [[], ["presets"], ["config"]], ids=" ".join)
def test_a_command_without_its_words_shows_its_help_and_fails(animdiff, words):
    result = animdiff(*words)
    assert result.exit_code == 2
    assert "Commands" in result.stdout


def test_the_version_is_one_line(animdiff):
    assert animdiff("--version").stdout.startswith("animdiff ")


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["presets", "list"]], ids=" ".join)
def test_torch_is_not_imported_for(script, words):
    watch = (
        "import sys\n"
        "from animdiff_cli.cli import main\n"
        f"sys.argv[1:] = {words}\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print([name for name in ('torch', 'diffusers', 'numpy', 'requests') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
