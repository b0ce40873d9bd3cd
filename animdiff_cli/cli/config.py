"""`animdiff config`: effective settings with their sources, and directories."""

import os
from typing import Annotated

import typer

from animdiff_cli.cli.command import Command, Group
from animdiff_cli.cli.options import MODELS, ConfigOpt, JsonOpt, PresetOpt, SetOpt
from animdiff_cli.cli.out import print_json, print_out

app = typer.Typer(cls=Group, no_args_is_help=True, help="Show effective settings and their sources.")


@app.command(cls=Command)
def show(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Image model.", show_default=False, rich_help_panel=MODELS, metavar="<ref>"),
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
    import yaml

    for key, value in values.items():
        # lists and tracks in flow style, so that the source fits on the same line
        flow = isinstance(value, tuple | dict)
        dumped = yaml.safe_dump(
            value if flow else {key: value}, allow_unicode=True, width=1000, default_flow_style=flow
        )
        line = f"{key}: {dumped.rstrip()}" if flow else dumped.rstrip()
        print_out(f"{line:<40}  # {resolved.origins[key]}")


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
        print_out(f"{name:<8} {place}")
