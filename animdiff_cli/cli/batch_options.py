"""Options of `animdiff batch FILE`."""

from typing import Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import DEVICE, OUTPUT, SOURCES, option
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
RetryOpt = Annotated[
    int, option("--retry", help="How often to try a job again that fails.", panel=JOBS, min=0, metavar="<int>")
]
KeepGoingOpt = Annotated[
    bool,
    option(
        "--keep-going/--no-keep-going",
        help="Render the other jobs after a failure, or stop. Default: keep going.",
        panel=JOBS,
    ),
]
ShardOpt = Annotated[
    str | None,
    option(
        "--shard",
        help="Render one part of the jobs, such as 2/3: for machines that share no queue.",
        panel=JOBS,
        metavar="<i/n>",
    ),
]
WorkersOpt = Annotated[
    int | None,
    option("--workers", help="Number of processes that render. Default: one per device.", panel=DEVICE, min=1),
]
DevicesOpt = Annotated[
    str | None,
    option(
        "--devices",
        help="Devices of the workers, such as cuda:0,cuda:1. In place of `--device`.",
        panel=DEVICE,
        metavar="<names>",
    ),
]
RayOpt = Annotated[
    str | None,
    option(
        "--ray",
        help="Render on a Ray cluster: its address, or auto for the one of this machine.",
        panel=DEVICE,
        metavar="<address>",
    ),
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
