"""`animdiff presets`: named sets of settings."""

from typing import Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.command import Command, Group
from animdiff_cli.cli.options import JsonOpt
from animdiff_cli.cli.out import print_err, print_json, print_out, print_row, print_yaml

app = typer.Typer(cls=Group, no_args_is_help=True, help="List and show presets.")


@app.command("list", cls=Command)
def list_(json_: JsonOpt = False) -> None:
    """List all presets."""
    from animdiff_cli.config.presets import list_presets

    presets = list_presets(lambda error: print_err(f"note: {error}"))
    width = max((len(preset.name) for preset in presets), default=0)
    for preset in presets:
        if json_:
            print_json({"name": preset.name, "description": preset.description, "path": str(preset.path)})
        else:
            print_row(f"{preset.name:<{width}}  ", preset.description)


@app.command(cls=Command)
def show(
    name: Annotated[str, typer.Argument(help="Name of the preset.", autocompletion=complete.presets)],
    json_: JsonOpt = False,
) -> None:
    """Print the settings of a preset."""
    from animdiff_cli.config.presets import load_preset

    preset = load_preset(name)
    if json_:
        print_json({"name": preset.name, "description": preset.description, **preset.values})
        return
    print_out(f"# {preset.description}")
    print_yaml(dict(preset.values))
