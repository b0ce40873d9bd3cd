"""The root command: help and version."""

import sys
from typing import Annotated

import typer

from animdiff_cli.cli.commands import Program
from animdiff_cli.cli.interrupts import handle_signals, lost_interrupts_raised_again, release_signals
from animdiff_cli.cli.out import print_out
from animdiff_cli.cli.streams import run
from animdiff_cli.core.garbage import freeze_objects

EPILOG = (
    "Exit codes: 0 done, 1 a bug, 2 usage or config, 3 not found, 4 network, 5 damaged or unknown weights, "
    "6 device or memory, 7 clips of a batch failed, 130 interrupted. Results are printed on stdout, everything else on "
    "stderr."
)


app = typer.Typer(
    name="animdiff",
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_out(f"animdiff {version('animdiff')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Animate personalized text-to-image models with AnimateDiff."""


def main() -> None:
    """Run the command line. Entry point of the console script. SIGTERM and SIGHUP end it like Ctrl-C."""
    handle_signals()
    try:
        with lost_interrupts_raised_again():
            code = run(app)
    except KeyboardInterrupt:  # before a command has started, or after it has ended
        code = 130
    release_signals()
    freeze_objects()
    sys.exit(code)
