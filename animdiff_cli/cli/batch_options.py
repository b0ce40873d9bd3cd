"""Options of `animdiff batch FILE`."""

from typing import Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import OUTPUT, SOURCES, option
from animdiff_cli.core.formats import FORMATS

JOBS = "Jobs"

FileArg = Annotated[
    str,
    typer.Argument(
        help="YAML, JSON Lines, CSV, or text with one prompt a line; - is stdin.", metavar="<file>", show_default=False
    ),
]
OnlyOpt = Annotated[
    list[str] | None,
    option(
        "--only",
        help="Render the jobs whose files match a pattern such as '*rocket*', or that have a setting, as in seed=1."
        " Repeatable.",
        panel=JOBS,
        metavar="<pattern>",
    ),
]
LimitOpt = Annotated[
    int | None, option("--limit", help="Refuse a file with more jobs. Default: 10000.", panel=JOBS, min=1)
]
OutputOpt = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        help="Folder, or a folder with a template such as 'night/{slug}_{seed}'. Default: named like the file.",
        panel=OUTPUT,
        metavar="<folder>",
    ),
]
FormatOpt = Annotated[
    list[str] | None,
    option(
        "--format",
        "-f",
        help=f"{', '.join(FORMATS)}. Repeatable. Default: what the file says, else gif.",
        panel=OUTPUT,
        autocompletion=complete.formats,
        metavar="<name>",
    ),
]
AllowDateOpt = Annotated[
    bool,
    option(
        "--allow-date",
        help="Allow {date} and {time} in names: clips of an earlier run are not found again.",
        panel=OUTPUT,
    ),
]
FetchOpt = Annotated[
    bool | None,
    option("--fetch/--no-fetch", help="Download missing weights, or not at all. Default: download.", panel=SOURCES),
]
DryRunOpt = Annotated[
    bool, option("--dry-run", help="Print every file that would be rendered, and what it takes.", panel=SOURCES)
]
