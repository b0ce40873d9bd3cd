"""Write and read clips. Every file stores the recipe it was rendered from."""

from animdiff_cli.outputs.ffmpeg import EncodeError
from animdiff_cli.outputs.provenance import NoRecipe, read_recipe
from animdiff_cli.outputs.write import check_output, free_path, numbered, output_paths, write_all, write_clip

__all__ = [
    "EncodeError",
    "NoRecipe",
    "check_output",
    "free_path",
    "numbered",
    "output_paths",
    "read_recipe",
    "write_all",
    "write_clip",
]
