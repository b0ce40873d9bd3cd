"""Commands and the root group: where help panels stand, and how failures become exit codes."""

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from animdiff_cli.cli.options import GENERAL
from animdiff_cli.cli.out import print_error
from animdiff_cli.errors import AnimdiffError, UsageError


class Command(TyperCommand):
    """A command whose help shows the general options last, `--help` among them."""

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:
        """Return the option behind `--help`, moved into the general panel."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = GENERAL
        return option


class Root(TyperGroup):
    """Turn a failure the user can act on into two lines on stderr and its exit code; let bugs raise."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command that was named. Typer's own complaints leave in the same form as ours."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except AnimdiffError as error:
            failure = error
        except TyperException as error:
            if not error.format_message():  # a group without a command has printed its help already
                raise
            command = getattr(error, "ctx", None) or ctx
            message = error.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's word for nothing
            failure = UsageError(message, hint=f"see `{command.command_path} --help`")
        print_error(failure, as_json=as_json)
        raise typer.Exit(failure.exit_code)
