"""`animdiff inspect`: what a file is. Weights get a card, clips show how they came about."""

from pathlib import Path
from typing import Annotated

import typer

from animdiff_cli.cli.options import GENERAL, JsonOpt
from animdiff_cli.cli.out import print_json

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
#: files that tell a folder of weights from a folder of frames
FOLDER_SIGNS = ("model_index.json", "config.json", "*.safetensors", "*.bin")


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            help="A weight file or model folder; a clip, a folder of frames, or a recipe.json.", show_default=False
        ),
    ],
    no_hash: Annotated[
        bool,
        typer.Option("--no-hash", rich_help_panel=GENERAL, help="Leave the sha256 of weights out: it reads it all."),
    ] = False,
    json_: JsonOpt = False,
) -> None:
    """Print the card of a weight file, or the recipe that a clip carries."""
    if _holds_weights(file):
        _print_card(file, with_hash=not no_hash and file.is_file(), as_json=json_)
    else:
        _print_recipe(file, as_json=json_)


def _holds_weights(file: Path) -> bool:
    if file.is_dir():
        return any(next(file.glob(sign), None) for sign in FOLDER_SIGNS)
    return file.suffix.lower() in WEIGHTS


def _print_card(file: Path, *, with_hash: bool, as_json: bool) -> None:
    from animdiff_cli.files.hashing import sha256_of
    from animdiff_cli.weights.card import alias_of, card_lines
    from animdiff_cli.weights.identify import identify

    info = identify(file)
    if as_json:
        digest = sha256_of(file) if with_hash else None
        alias = alias_of(digest) if digest else None
        print_json({"file": str(file), **info.record(), "sha256": digest, "alias": alias})
        return
    for name, value in card_lines(info):
        print(f"{name:<12} {value}", flush=True)
    if with_hash:  # last, because it alone takes time
        digest = sha256_of(file)
        print(f"{'sha256':<12} {digest}")
        if alias := alias_of(digest):
            print(f"{'known as':<12} {alias}")


def _print_recipe(file: Path, *, as_json: bool) -> None:
    from animdiff_cli.outputs import read_recipe

    recipe = read_recipe(file)
    if as_json:
        print_json(recipe)
        return
    import yaml

    print(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100).rstrip())
