"""`animdiff inspect`: show the facts of a weight file, or the recipe of a clip."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animdiff_cli.cli.options import GENERAL, JsonOpt
from animdiff_cli.cli.out import print_json, print_out
from animdiff_cli.core.refs import WEIGHT_SUFFIXES

if TYPE_CHECKING:
    from animdiff_cli.weights.info import WeightsInfo

#: metadata of training tools can be very long
MAX_METADATA = 100
#: files in a folder of weights, and not in a folder of frames
WEIGHT_FOLDER_FILES = ("model_index.json", "config.json", "*.safetensors", "*.bin")


def inspect(
    file: Annotated[
        Path,
        typer.Argument(help="Weight file, model folder, clip, folder of frames, or recipe.json.", show_default=False),
    ],
    no_hash: Annotated[
        bool,
        typer.Option("--no-hash", rich_help_panel=GENERAL, help="Skip the sha256, which reads the whole file."),
    ] = False,
    json_: JsonOpt = False,
) -> None:
    """Show the kind, base, version and size of a weight file, or the recipe in a clip."""
    if _is_weights(file):
        _print_weights_info(file, with_hash=not no_hash and file.is_file(), as_json=json_)
    else:
        _print_recipe(file, as_json=json_)


def _is_weights(file: Path) -> bool:
    if file.is_dir():
        return any(next(file.glob(name), None) for name in WEIGHT_FOLDER_FILES)
    return file.suffix.lower() in WEIGHT_SUFFIXES


def _print_weights_info(file: Path, *, with_hash: bool, as_json: bool) -> None:
    from animdiff_cli.files.hashing import sha256_of
    from animdiff_cli.weights.identify import identify

    info = identify(file)
    if as_json:
        digest = sha256_of(file) if with_hash else None
        alias = _alias_of(digest) if digest else None
        print_json({"file": str(file), **info.record(), "sha256": digest, "alias": alias})
        return
    for name, value in _info_lines(info):
        print_out(f"{name:<12} {value}")
    if with_hash:  # last, because it reads the whole file
        digest = sha256_of(file)
        print_out(f"{'sha256':<12} {digest}")
        if alias := _alias_of(digest):
            print_out(f"{'known as':<12} {alias}")


def _info_lines(info: "WeightsInfo") -> Iterator[tuple[str, str]]:
    facts = {
        "kind": info.kind,
        "base": info.base,
        "version": info.version,
        "format": info.format,
        "family": info.family,
        "rank": info.rank,
        "dtype": info.dtype,
        "parameters": f"{info.parameters:,}",
        "tensors": info.tensors,
        "max frames": info.max_frames,
        "container": info.container,
        "goes with": info.goes_with,
    }
    yield from ((name, str(value)) for name, value in facts.items() if value is not None)
    yield from (("note", note) for note in info.notes)
    for key, value in sorted(info.metadata.items()):
        short = value if len(value) <= MAX_METADATA else f"{value[:MAX_METADATA]}… ({len(value)} characters)"
        yield f"  {key}", short


def _alias_of(sha256: str) -> str | None:
    from animdiff_cli.registry.catalog import load_catalog

    return next((entry.alias for entry in load_catalog().entries if entry.sha256 == sha256), None)


def _print_recipe(file: Path, *, as_json: bool) -> None:
    from animdiff_cli.outputs import read_recipe

    recipe = read_recipe(file)
    if as_json:
        print_json(recipe)
        return
    import yaml

    print_out(*yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100).rstrip().split("\n"))
