"""`animdiff config`: effective settings with their sources, and directories."""

import os
import textwrap
from typing import Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.command import Command, Group
from animdiff_cli.cli.options import MODELS, ConfigOpt, JsonOpt, PresetOpt, SetOpt, option
from animdiff_cli.cli.out import print_json, print_out, print_row, terminal_width

app = typer.Typer(cls=Group, no_args_is_help=True, help="Show effective settings and their sources.")


@app.command(cls=Command)
def show(
    model: Annotated[
        str | None,
        option(
            "--model",
            "-m",
            help="Image model.",
            panel=MODELS,
            metavar="<ref>",
            autocompletion=complete.models("base"),
        ),
    ] = None,
    preset: PresetOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    json_: JsonOpt = False,
) -> None:
    """Print every setting as `generate` would use it, with its source."""
    from animdiff_cli.config.layers import resolve
    from animdiff_cli.config.load import gather
    from animdiff_cli.config.schema import GenerateConfig
    from animdiff_cli.config.varying import plain
    from animdiff_cli.jobs.model_settings import with_prediction
    from animdiff_cli.registry.recommend import with_recommended

    flags: dict[str, object] = {"model": model} if model else {}
    layers = gather(preset=preset, config_file=config, environ=os.environ, assignments=set_ or [], flags=flags)
    resolved = resolve(GenerateConfig, with_prediction(with_recommended(layers)))
    values = {key: plain(value) for key, value in resolved.values.items()}
    if json_:
        print_json({key: {"value": value, "origin": resolved.origins[key]} for key, value in values.items()})
        return
    for key, value in values.items():
        _print_setting(key, value, resolved.origins[key])


def _print_setting(key: str, value: object, origin: str) -> None:
    """Print a setting as YAML with its source as a comment, on the next line if a terminal is too narrow for both."""
    import yaml

    width = terminal_width() or 1000
    fold = width - 20  # PyYAML breaks lines after this column, not before it
    if isinstance(value, tuple | dict):  # in flow style, so that the source fits on the same line
        listed = yaml.safe_dump(value, allow_unicode=True, width=fold - len(key) - 2, default_flow_style=True)
        dumped = f"{key}: {textwrap.indent(listed, '  ').lstrip()}"
    else:
        dumped = yaml.safe_dump({key: value}, allow_unicode=True, width=fold)
    *lines, last = dumped.rstrip().split("\n")
    line = f"{last:<40}  # {origin}"
    print_out(*lines, *([line] if len(line) <= width else [last, f"  # {origin}"]))


@app.command(cls=Command)
def path(json_: JsonOpt = False) -> None:
    """Print the directories of models, presets and outputs."""
    from animdiff_cli import paths

    places = {
        "models": paths.models_dir(),
        "config": paths.config_dir(),
        "presets": paths.presets_dir(),
        "output": paths.output_dir(),
    }
    if json_:
        print_json({name: str(place) for name, place in places.items()})
        return
    for name, place in places.items():
        print_row(f"{name:<8} ", place)
