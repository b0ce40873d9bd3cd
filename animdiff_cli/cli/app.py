"""The root command: help, version, and errors turned into exit codes in one place."""

from typing import Annotated

import typer
from typer.core import TyperGroup

from animdiff_cli.cli import config, generate, inspect, presets
from animdiff_cli.cli.out import print_error
from animdiff_cli.errors import AnimdiffError

EPILOG = """\
Exit codes: 0 done, 1 a bug, 2 usage or config, 3 not found, 4 network, 5 damaged or unknown weights,
6 device or memory, 130 interrupted. Results go to stdout, everything else to stderr.
"""


class Root(TyperGroup):
    """Turn an AnimdiffError into two lines on stderr and its exit code; let bugs raise."""

    def invoke(self, ctx: typer.Context) -> object:
        as_json = "--json" in ctx.args or "--json" in getattr(ctx, "_protected_args", ())
        try:
            return super().invoke(ctx)
        except AnimdiffError as error:
            print_error(error, as_json=as_json)
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"animdiff {version('animdiff')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Animate personalised text-to-image models: AnimateDiff in the shell."""


app.command("generate")(generate.generate)
app.command("inspect")(inspect.inspect)
app.add_typer(presets.app, name="presets")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the command line; the console script's entry point."""
    app()
