"""Write and read clips. Every file stores the recipe it was rendered from."""

from animdiff_cli.outputs.ffmpeg import EncodeError
from animdiff_cli.outputs.provenance import NoRecipe, read_recipe
from animdiff_cli.outputs.store import store_clip
from animdiff_cli.outputs.write import check_output, free_path, is_taken, numbered, output_paths, write_all, write_clip

__all__ = [
    "EncodeError",
    "NoRecipe",
    "check_output",
    "free_path",
    "is_taken",
    "numbered",
    "output_paths",
    "read_recipe",
    "store_clip",
    "write_all",
    "write_clip",
]
