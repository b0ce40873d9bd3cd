"""A folder of PNGs: every frame as it was decoded, and the recipe beside them."""

import re
from pathlib import Path

from PIL import Image

from animdiff_cli.errors import UsageError
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.outputs.provenance import RECIPE_FILE, png_info


def write_frames(frames: Frames, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` to the new folder `path` as `00000.png` … and `recipe.json`.

    Each PNG carries the recipe too. A folder has no speed of its own: `fps` is left to the recipe.
    """
    path.mkdir()
    info = png_info(recipe)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{index:05d}.png", "PNG", pnginfo=info)
    (path / RECIPE_FILE).write_text(recipe + "\n", encoding="ascii", newline="\n")


def require_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but frames and a recipe: `--overwrite` must not empty a home."""
    for entry in folder.iterdir():
        if entry.is_dir() or not (entry.name == RECIPE_FILE or re.fullmatch(r"\d{5,}\.png", entry.name)):
            raise UsageError(
                f"`{folder}` holds more than frames (`{entry.name}`), so it is not replaced",
                hint="choose another folder with `--output`, or leave out `--overwrite`",
            )
