"""Options shared by several commands, and the titles of help panels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from animdiff_cli.cli import complete
from animdiff_cli.files.threads import prepare_threads

MODELS, CONTROL, PROMPT, SAMPLING, MOTION, LENGTH = "Models", "Control", "Prompt", "Sampling", "Motion", "Length"
PICTURES = "Pictures and videos"
OUTPUT, DEVICE, SOURCES, GENERAL = "Output", "Device", "Sources", "General"


def option(*names: str, help: str, panel: str, **more: Any) -> Any:
    """Declare an option of a help panel that is unset unless given."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


def given_flags(ctx: typer.Context, names: Mapping[str, str]) -> dict[str, object]:
    """Return the settings that were given as flags, by key. `names` maps the key of a setting to its parameter."""
    return {key: ctx.params[name] for key, name in names.items() if ctx.params.get(name) not in (None, [], ())}


ModelOpt = Annotated[
    str | None,
    option(
        "--model",
        "-m",
        help="Image model: alias, checkpoint file or diffusers folder.",
        panel=MODELS,
        autocompletion=complete.models("base"),
        metavar="<ref>",
    ),
]
JsonOpt = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout, errors as JSON on stderr.", rich_help_panel=GENERAL)
]
EventsOpt = Annotated[
    bool,
    typer.Option("--json", help="Print events as JSON Lines on stdout, errors on stderr.", rich_help_panel=GENERAL),
]
QuietOpt = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only data: no progress, no notes.", rich_help_panel=GENERAL)
]
PresetOpt = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Preset to start from; see `animdiff presets list`.",
        autocompletion=complete.presets,
        rich_help_panel=SOURCES,
        show_default=False,
        metavar="<name>",
    ),
]
ConfigOpt = Annotated[
    Path | None, typer.Option("--config", help="YAML file with settings.", rich_help_panel=SOURCES, show_default=False)
]
SetOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Set any setting, as key=value. Repeatable.", rich_help_panel=SOURCES, metavar="<key=value>"
    ),
]
DeviceOpt = Annotated[
    str,
    option(
        "--device", help="auto, cuda, cuda:N, mps or cpu.", panel=DEVICE, envvar="ANIMDIFF_DEVICE", metavar="<name>"
    ),
]


def _prepare_threads(value: int | None) -> int | None:
    return prepare_threads(value)  # typer would also fill its second parameter


ThreadsOpt = Annotated[
    int | None,
    option(
        "--threads",
        help="Number of CPU threads. Default: one for each physical core, within the quota of a container.",
        panel=DEVICE,
        envvar="ANIMDIFF_THREADS",
        callback=_prepare_threads,
        min=1,
        max=1024,
    ),
]
