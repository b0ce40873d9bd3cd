"""The table of commands, which are imported when they are used."""

import pytest
from typer.main import get_command

from animdiff_cli.cli import app
from animdiff_cli.cli.commands import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_help_of_a_command_begins_with(name):
    help = get_command(app).commands[name].help
    assert " ".join(help.split("\n\n")[0].split()) == COMMANDS[name].help


def test_the_help_lists_every_command(animdiff):
    shown = animdiff("--help").stdout
    assert all(name in shown for name in COMMANDS)


def test_an_unknown_command_gets_the_nearest_one(animdiff):
    result = animdiff("generat")
    assert result.exit_code == 2
    assert "did you mean `generate`?" in result.stderr


def test_a_group_is_found_with_its_commands():
    commands = get_command(app).commands
    assert "run" in commands["batch"].commands
    assert "nothing" not in commands
