"""What the commands that train a network for the pocket model share: messages, options, and how a run ends."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from animdiff_cli.errors import AnimdiffError
from tools.pocket.loop import Trained


def tell(message: str) -> None:
    """Print a message to stderr."""
    print(message, file=sys.stderr, flush=True)


def report(stage: str, step: int, elapsed_s: float, lr: float, loss: float, more: str = "") -> None:
    """Tell the progress of a stage; `more` ends the line."""
    tell(f"{stage}: step {step}, {elapsed_s / 60:.1f} min, learning rate {lr:.1e}, loss {loss:.4f}{more}")


def training_parser(command: str, description: str | None, *, out: str, work: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every training. `out` and `work` say what is written there."""
    parser = argparse.ArgumentParser(prog=f"python -m tools.pocket {command}", description=description)
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--work", type=Path, default=Path(f".pocket-{command.partition('-')[0]}"), help=work)
    parser.add_argument("--minutes", type=float, default=60.0, help="training time, all runs together")
    parser.add_argument("--stop-after", type=float, default=float("inf"), metavar="MIN", help="end this run by then")
    return parser


def run_training(run: Callable[[argparse.Namespace], Trained], arguments: argparse.Namespace) -> int:
    """Train, print the path of the result, and return the exit status."""
    try:
        trained = run(arguments)
    except AnimdiffError as error:
        tell(f"error: {error}")
        return error.exit_code
    state = "complete" if trained.complete else "stopped in time; the same command goes on from here"
    tell(f"{trained.step} steps in {trained.elapsed_s / 60:.1f} min, loss {trained.loss:.4f}: {state}")
    print(arguments.out)
    return 0
