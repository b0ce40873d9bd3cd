"""Expand the paths of a command line to clips and images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from animdiff_cli.core.formats import ANIMATION_SUFFIXES, CLIP_SUFFIXES, FILE_FORMATS, IMAGE_SUFFIXES, RECIPE_FILE
from animdiff_cli.core.naming import natural_key
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.outputs.provenance import read_recipe
from animdiff_cli.outputs.read import is_animation, list_images
from animdiff_cli.paths import expanded


def find_clips(paths: Iterable[Path], *, everything: bool = False) -> list[Path]:
    """List the clips in files and folders without duplicates, those of a folder by name.

    A folder with clips or folders of frames is expanded; a folder with only images is itself a clip. With `everything`,
    the folders below are searched too, except hidden ones and links, and single images with a recipe are clips.
    Raises `NotFound` if a path does not exist, `UsageError` if it is not a clip.
    """
    found = [clip for path in paths for clip in _expand(expanded(path), everything)]
    return list(dict.fromkeys(found))


def find_images(paths: Sequence[Path]) -> list[Path]:
    """List images, those of a folder by name. Raises `NotFound`, or `UsageError` for a folder without images."""
    found: list[Path] = []
    for path in (expanded(path) for path in paths):
        files = list_images(path) if path.is_dir() else [path]
        if not path.exists():
            raise NotFound(f"no image `{path}`", hint="check the path of `--reference`")
        if not files:
            raise UsageError(f"`{path}` contains no images", hint="give PNG, JPEG or WebP images")
        found += files
    return found


def _expand(path: Path, everything: bool) -> list[Path]:
    if path.is_file():
        if path.suffix.lower() not in CLIP_SUFFIXES:
            raise UsageError(
                f"`{path}` is not a clip: unsupported suffix `{path.suffix or path.name}`",
                hint=f"give a {FILE_FORMATS} file, a folder of frames, or a folder of clips",
            )
        return [path]
    if not path.is_dir():
        raise NotFound(f"no clip `{path}`", hint="check the path, or give a folder of clips")
    if (path / RECIPE_FILE).is_file():
        return [path]
    inside = _clips_below(path, everything)
    if inside:
        return inside
    if list_images(path):
        return [path]
    raise UsageError(f"`{path}` contains no clips", hint=f"give a folder of {FILE_FORMATS} files, or of frames")


def _clips_below(folder: Path, everything: bool) -> list[Path]:
    """List the clips in a folder by name; those of the folders in it follow."""
    entries = [entry for entry in folder.iterdir() if entry.name[0] != "."]
    entries.sort(key=lambda entry: natural_key(entry.name))
    found = [entry for entry in entries if _is_clip(entry) or (everything and _is_still(entry))]
    if everything:
        folders = (entry for entry in entries if entry.is_dir() and not entry.is_symlink() and entry not in found)
        found += [clip for inner in folders for clip in _clips_below(inner, everything)]
    return found


def _is_clip(entry: Path) -> bool:
    """Return True for clips in a folder, False for single images and other files."""
    suffix = entry.suffix.lower()
    if entry.is_dir():
        return (entry / RECIPE_FILE).is_file()
    return suffix in CLIP_SUFFIXES and (suffix not in IMAGE_SUFFIXES or is_animation(entry))


def _is_still(entry: Path) -> bool:
    """Return True for a single image with a recipe, as a clip of one frame or of equal frames is written.

    Also for a damaged file, which is reported when it is read.
    """
    if entry.suffix.lower() not in ANIMATION_SUFFIXES or not entry.is_file():
        return False
    try:
        read_recipe(entry)
    except NotFound:
        return False
    except UsageError:
        return True
    return True
