"""Base classes of commands: the order of help panels, and errors as exit codes."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from animdiff_cli.cli.options import GENERAL
from animdiff_cli.cli.out import print_error
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.files.os_errors import unexpected_failure

if TYPE_CHECKING:
    from typer._click.core import Context  # the class in the signatures of typer's base classes


class Command(TyperCommand):
    """A command whose help lists the general options last, including `--help`."""

    def get_help_option(self, ctx: "Context") -> TyperOption | None:
        """Return the `--help` option, moved to the general panel."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = GENERAL
        return option


class Root(TyperGroup):
    """Print an `AnimdiffError` as two lines on stderr and exit with its code. Other exceptions are raised: bugs."""

    def invoke(self, ctx: "Context") -> object:
        """Run the command. Usage errors of typer are printed in the same form."""
        as_json = "--json" in ctx.args
        try:
            _check_current_folder()
            return super().invoke(ctx)
        except AnimdiffError as error:
            failure = error
        except OSError as error:
            known = unexpected_failure(error)
            if known is None:
                raise
            failure = known
        except TyperException as error:
            if not error.format_message():  # a group without a command has printed its help
                raise
            command = getattr(error, "ctx", None) or ctx
            message = error.format_message().rstrip(".").replace("Value error, ", "")  # a prefix of pydantic
            failure = UsageError(message, hint=f"see `{command.command_path} --help`")
        print_error(failure, as_json=as_json)
        raise typer.Exit(failure.exit_code)


def _check_current_folder() -> None:
    """Raise `NotFound` in a deleted folder: relative paths mean nothing there, and torch cannot be imported."""
    try:
        Path.cwd()
    except OSError as error:
        raise NotFound("the current folder no longer exists", hint="type `cd`, then run the command again") from error
