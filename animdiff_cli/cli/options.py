"""Flags that mean the same in every command, because they are the same object."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

MODELS, SAMPLING, MOTION, OUTPUT, DEVICE, SOURCES = "Models", "Sampling", "Motion", "Output", "Device", "Sources"
GENERAL = "General"


def given_flags(ctx: typer.Context, names: Mapping[str, str]) -> dict[str, object]:
    """Return the settings that were given as flags, by key. `names` maps the key of a setting to its parameter."""
    return {key: ctx.params[name] for key, name in names.items() if ctx.params.get(name) not in (None, [], ())}


JsonOpt = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout, errors as JSON on stderr.", rich_help_panel=GENERAL)
]
QuietOpt = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the data alone: no progress, no notes.", rich_help_panel=GENERAL)
]
PresetOpt = Annotated[
    str | None,
    typer.Option(
        "--preset", help="A whole look by name.", rich_help_panel=SOURCES, show_default=False, metavar="<name>"
    ),
]
ConfigOpt = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings.", rich_help_panel=SOURCES, show_default=False)
]
SetOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any setting, as key=value. Repeatable.", rich_help_panel=SOURCES, metavar="<key=value>"
    ),
]
