"""`animdiff inspect`: show the facts of a weight file, or the recipe of a clip."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import GENERAL, JsonOpt
from animdiff_cli.cli.out import print_json, print_row, print_yaml
from animdiff_cli.core.formats import CLIP_SUFFIXES, IMAGE_SUFFIXES
from animdiff_cli.core.urls import redacted_record
from animdiff_cli.registry.catalog_files import may_have_hash, may_have_path

if TYPE_CHECKING:
    from animdiff_cli.registry.catalog import CatalogEntry
    from animdiff_cli.weights.info import WeightsInfo

#: metadata of training tools can be very long
MAX_METADATA = 100
#: files in a folder of weights, and not in a folder of frames
WEIGHT_FOLDER_FILES = ("model_index.json", "config.json", "*.safetensors", "*.bin")


def inspect(
    file: Annotated[
        str,
        typer.Argument(
            help="Weight file, model folder, alias, clip, folder of frames, or recipe.json.",
            show_default=False,
            metavar="<file>",
            autocompletion=complete.models(),
        ),
    ],
    no_hash: Annotated[
        bool,
        typer.Option("--no-hash", rich_help_panel=GENERAL, help="Skip the sha256, which reads the whole file."),
    ] = False,
    json_: JsonOpt = False,
) -> None:
    """Show the kind, base, version and size of a weight file, or the recipe in a clip."""
    path = _located(file)
    if _is_weights(path):
        _print_weights_info(path, with_hash=not no_hash and path.is_file(), as_json=json_)
    else:
        _print_recipe(path, as_json=json_)


def _located(file: str) -> Path:
    """Return the path of a file, or of local weights by alias or reference."""
    path = Path(file)
    if path.exists() or path.suffix.lower() in {".json", *CLIP_SUFFIXES, *IMAGE_SUFFIXES}:
        return path
    from animdiff_cli.core.refs import parse_ref
    from animdiff_cli.registry.store import locate_any

    return locate_any(parse_ref(file)).path


def _is_weights(file: Path) -> bool:
    if file.is_dir():
        return any(next(file.glob(name), None) for name in WEIGHT_FOLDER_FILES)
    from animdiff_cli.core.refs import WEIGHT_SUFFIXES

    return file.suffix.lower() in WEIGHT_SUFFIXES


def _print_weights_info(file: Path, *, with_hash: bool, as_json: bool) -> None:
    from animdiff_cli.files.hashing import sha256_of
    from animdiff_cli.weights.identify import identify

    info, own = identify(file), _entry_at(file)
    if own:  # a miniature is built like its original
        info = replace(info, base=own.base)
    if as_json:
        digest = sha256_of(file) if with_hash else None
        alias = own.alias if own else digest and _alias_of(digest)
        print_json({"file": str(file), **redacted_record(info.record()), "sha256": digest, "alias": alias})
        return
    for name, value in _info_lines(info):
        print_row(f"{name:<12} ", value)
    alias = own.alias if own else None
    if with_hash:  # last, because it reads the whole file
        digest = sha256_of(file)
        print_row(f"{'sha256':<12} ", digest)
        alias = alias or _alias_of(digest)
    if alias:
        print_row(f"{'known as':<12} ", alias)


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
    for key, value in sorted(redacted_record(info.metadata).items()):
        short = value if len(value) <= MAX_METADATA else f"{value[:MAX_METADATA]}… ({len(value)} characters)"
        yield f"  {key}", short


def _entry_at(file: Path) -> "CatalogEntry | None":
    """Return the catalog entry whose path this is."""
    if not may_have_path(file):
        return None
    from animdiff_cli.registry.catalog import load_catalog
    from animdiff_cli.registry.store import local_path

    fixed = (entry for entry in load_catalog().entries if entry.bundled or entry.path)
    return next((entry for entry in fixed if (path := local_path(entry)) and path.resolve() == file.resolve()), None)


def _alias_of(sha256: str) -> str | None:
    if not may_have_hash(sha256):
        return None
    from animdiff_cli.registry.catalog import load_catalog

    return next((entry.alias for entry in load_catalog().entries if entry.sha256 == sha256), None)


def _print_recipe(file: Path, *, as_json: bool) -> None:
    from animdiff_cli.outputs import read_recipe

    recipe = redacted_record(read_recipe(file))
    if as_json:
        print_json(recipe)
        return
    print_yaml(recipe)
