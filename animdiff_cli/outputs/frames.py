"""A folder of PNG frames, with the recipe as `recipe.json`."""

import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from animdiff_cli.core.formats import RECIPE_FILE
from animdiff_cli.errors import UsageError
from animdiff_cli.outputs.provenance import png_info
from animdiff_cli.outputs.spool import FrameSequence
from animdiff_cli.storage.location import Location, RemotePath
from animdiff_cli.storage.objects import list_files


def write_frames(frames: FrameSequence, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` to the new folder `path` as `00000.png` … and `recipe.json`.

    Each PNG stores the recipe too. `fps` is not used: a folder has no frame rate, only its recipe does.
    """
    path.mkdir()
    info = png_info(recipe)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{index:05d}.png", "PNG", pnginfo=info)
    (path / RECIPE_FILE).write_text(recipe + "\n", encoding="ascii", newline="\n")


def require_only_frames(folder: Location) -> None:
    """Raise `UsageError` if a folder contains anything but frames and a recipe: `--overwrite` would delete it."""
    for name in _names(folder):
        if not (name == RECIPE_FILE or re.fullmatch(r"\d{5,}\.png", name)):
            raise UsageError(
                f"`{folder}` contains more than frames (`{name}`), so it is not replaced",
                hint="choose another folder with `--output`, or leave out `--overwrite`",
            )


def _names(folder: Location) -> Iterable[str]:
    """Return the names in a folder, those of folders with `/`."""
    if isinstance(folder, RemotePath):
        return list_files(folder)
    return (f"{entry.name}/" if entry.is_dir() else entry.name for entry in folder.iterdir())
