"""Which clips and stills the words of a command line mean."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.outputs.provenance import RECIPE_FILE
from animdiff_cli.outputs.read import ANIMATED, STILLS, VIDEOS, is_animation, still_files

#: suffixes of pictures that are clips only if they hold more than one frame
AMBIGUOUS = (".png", ".webp")


def find_clips(paths: Iterable[Path]) -> list[Path]:
    """List the clips that files and folders stand for, each once, folders in the order of their names.

    A folder that holds clips, or folders of frames, stands for those; one that holds only stills is a clip itself.
    Raises `NotFound` for what is not there, `UsageError` for what is no clip.
    """
    found = [clip for path in paths for clip in _expand(path.expanduser())]
    return list(dict.fromkeys(found))


def find_stills(paths: Sequence[Path]) -> list[Path]:
    """List pictures, those in folders by name. Raises `NotFound`, `UsageError` for a folder without any."""
    found: list[Path] = []
    for path in (path.expanduser() for path in paths):
        files = still_files(path) if path.is_dir() else [path]
        if not path.exists():
            raise NotFound(f"no picture `{path}`", hint="check the path given as `--reference`")
        if not files:
            raise UsageError(f"`{path}` holds no pictures", hint="give PNG, JPEG or WebP stills")
        found += files
    return found


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix.lower() not in (*ANIMATED, *VIDEOS):
            raise UsageError(
                f"`{path}` is no clip: nothing here reads `{path.suffix or path.name}`",
                hint="give a gif, mp4, webm, webp, apng, a folder of frames, or a folder of clips",
            )
        return [path]
    if not path.is_dir():
        raise NotFound(f"no clip `{path}`", hint="check the path, or give a folder of clips")
    if (path / RECIPE_FILE).is_file():
        return [path]
    inside = sorted(entry for entry in path.iterdir() if entry.name[0] != "." and _is_clip(entry))
    if inside:
        return inside
    if still_files(path):
        return [path]
    raise UsageError(f"`{path}` holds no clips", hint="give a folder of gif, mp4, webm, webp or apng files, or frames")


def _is_clip(entry: Path) -> bool:
    """Tell the clips in a folder from stills and everything else."""
    suffix = entry.suffix.lower()
    if entry.is_dir():
        return (entry / RECIPE_FILE).is_file()
    if suffix in AMBIGUOUS:
        return is_animation(entry)
    return suffix in (*ANIMATED, *VIDEOS) and suffix not in STILLS
