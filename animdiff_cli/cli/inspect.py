"""`animdiff inspect`: how a clip came about."""

from pathlib import Path
from typing import Annotated

import typer

from animdiff_cli.cli.options import JsonOpt
from animdiff_cli.cli.out import print_json


def inspect(
    file: Annotated[Path, typer.Argument(help="A clip, a folder of frames, or a recipe.json.", show_default=False)],
    json_: JsonOpt = False,
) -> None:
    """Print the recipe that a clip carries: settings, weights with their sha256, versions."""
    from animdiff_cli.outputs import read_recipe

    recipe = read_recipe(file)
    if json_:
        print_json(recipe)
        return
    import yaml

    print(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100).rstrip())
