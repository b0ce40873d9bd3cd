"""Record the output of the commands in `docs/guides/batches.md`.

`python -m tools.docs.batch_guide` runs every command of the page in a folder with the files of the page, and writes its
output below it. The commands that render take a few minutes. Lines about time and memory differ between
machines.
"""

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from typer.testing import CliRunner

from animdiff_cli.cli import app

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "batches.md"
FILE = re.compile(r"Write `(?P<name>[\w.]+)`[.:][^\n]*(?:\n[^\n`]*)*?\n\n```\w+\n(?P<text>.*?)```", re.DOTALL)
BLOCK = re.compile(r"(?<=```console\n)\$ (?P<command>animdiff [^\n]*)\n(?P<output>.*?)(?=```\n)", re.DOTALL)
#: lines that differ between runs or machines
VOLATILE = re.compile(r"^(?:time:.*|.* of memory|.*\bin \d+ (?:s|min)\b.*)\n", re.MULTILINE)


def write_files(page: str, folder: Path) -> None:
    """Write the files that the page tells to write."""
    for match in FILE.finditer(page):
        (folder / match["name"]).write_text(match["text"], encoding="utf-8")


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of the page, each with the output that is recorded below it."""
    for match in BLOCK.finditer(page):
        yield match["command"], match["output"]


def run(command: str) -> str:
    """Run a command in this process; return its interleaved stdout and stderr."""
    words, _, source = command.partition(" < ")
    text = Path(source).read_text(encoding="utf-8") if source else None
    return CliRunner().invoke(app, shlex.split(words)[1:], input=text, prog_name="animdiff").output


def lasting(text: str) -> str:
    """Remove what differs between runs."""
    return VOLATILE.sub("", text)


def main() -> None:
    """Write the output of every command into the page. Each runs in a folder of its own."""
    page = GUIDE.read_text(encoding="utf-8")
    os.environ["ANIMDIFF_DEVICE"] = "cpu"

    def recorded(match: re.Match[str]) -> str:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            write_files(page, Path())
            return f"$ {match['command']}\n{run(match['command'])}"

    GUIDE.write_text(BLOCK.sub(recorded, page), encoding="utf-8")


if __name__ == "__main__":
    main()
