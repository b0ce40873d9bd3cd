"""Clips written to files that carry their recipe."""

from animdiff_cli.outputs.ffmpeg import EncodeError
from animdiff_cli.outputs.provenance import NoRecipe, read_recipe
from animdiff_cli.outputs.write import (
    check_output,
    format_of,
    free_path,
    output_paths,
    suffix_of,
    write_all,
    write_clip,
)

__all__ = [
    "EncodeError",
    "NoRecipe",
    "check_output",
    "format_of",
    "free_path",
    "output_paths",
    "read_recipe",
    "suffix_of",
    "write_all",
    "write_clip",
]
