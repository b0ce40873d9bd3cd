"""Find footage for the `videos` setting: a folder, one file, a list or WebDataset shards."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.suggest import closest
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.training.data.media import (
    MISSING,
    NO_MOTION,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    FoundMedia,
    Media,
    Skip,
    kind_of,
    one_line,
)
from animdiff_cli.training.data.shards import find_in_shards, is_shards
from animdiff_cli.training.data.tables import METADATA, TABLE_SUFFIXES, find_in_table, read_table

_NUMBERED = re.compile(r"(.*?)(\d+)")


def find(config: DataConfig) -> FoundMedia:
    """List the footage of a data set without opening any video.

    Raises `NotFound` if the path does not exist or contains no footage, `UsageError` if it is of the wrong kind.
    """
    path = config.videos.expanduser()
    is_table = path.suffix.lower() in TABLE_SUFFIXES and path.is_file()
    if config.video_folder is not None and not is_table:
        raise UsageError(
            f"`data.video_folder` needs a list, and `{path}` is not one",
            hint="leave out `data.video_folder`, or pass a CSV or JSONL file to `--videos`",
        )
    found = _find(path, config, is_table)
    if not found.media and not found.skipped:
        raise NotFound(f"no videos in `{path}`", hint=f"supported: {', '.join(sorted(VIDEO_SUFFIXES))}")
    return found


def find_in_folder(root: Path, *, stills: bool) -> FoundMedia:
    """List the footage below `root`, sorted by name. Ignores hidden files; visits each linked folder once.

    A folder whose only footage is pictures numbered without a gap (`00000.png`, `frame_1.jpg`) is one clip; this holds
    for `root` itself only without `stills`. Other pictures are used with `stills` and skipped otherwise. Captions come
    from `name.txt` beside `name.mp4`, or from a `metadata.jsonl` or `metadata.csv` in that folder or a folder above.
    Raises `UsageError` for a list that cannot be read.
    """
    folders = list(_walk(root, set()))
    lists = [read_table(folder / name) for folder, files in folders for name in METADATA if name in files]
    captions = {file: caption for rows in lists for file, caption in rows}
    media: list[Media] = []
    skipped: list[Skip] = [(_name(file, root), MISSING) for file in captions if not os.path.lexists(file)]
    for folder, files in folders:
        frames = () if stills and folder == root else numbered(files)
        if frames:
            caption = caption_beside(folder) or captions.get(folder)
            media.append(Media(_name(folder, root), folder, "frames", caption, frames=frames))
            continue
        for path in (folder / file for file in files):
            kind = kind_of(path)
            if kind and not path.is_file():
                skipped.append((_name(path, root), "broken link"))
            elif kind == "still" and not stills:
                skipped.append((_name(path, root), NO_MOTION))
            elif kind:
                media.append(Media(_name(path, root), path, kind, caption_beside(path) or captions.get(path)))
    return FoundMedia(tuple(media), tuple(skipped))


def numbered(files: Sequence[str]) -> tuple[str, ...]:
    """Sort the pictures of a folder by number; empty unless they count up from 0 or 1 without a gap.

    >>> numbered(["f2.png", "f1.png", "recipe.json"])
    ('f1.png', 'f2.png')
    >>> numbered(["f1.png", "f2.png", "f4.png"]), numbered(["1.png", "2.png", "a.mp4"])
    ((), ())
    """
    pictures = [file for file in files if kind_of(file) == "still"]
    matches = [_NUMBERED.fullmatch(Path(file).stem) for file in pictures]
    parts = sorted((int(match[2]), match[1], file) for match, file in zip(matches, pictures, strict=True) if match)
    if len(parts) < 2 or len(parts) < len(pictures) or any(kind_of(file) == "video" for file in files):
        return ()
    consecutive = all(after[:2] == (before[0] + 1, before[1]) for before, after in pairwise(parts))
    return tuple(file for _, _, file in parts) if consecutive and parts[0][0] in (0, 1) else ()


def caption_beside(path: Path) -> str | None:
    """Read `name.txt` beside `name.mp4`; None if it does not exist or is empty."""
    with suppress(FileNotFoundError, IsADirectoryError):
        return one_line(path.with_name(f"{path.stem}.txt").read_text(encoding="utf-8", errors="replace")) or None
    return None


def _find(path: Path, config: DataConfig, is_table: bool) -> FoundMedia:
    stills = config.shot is not None or config.num_frames == 1
    if is_shards(path):
        return find_in_shards(path, stills=stills)
    if not path.exists():
        raise _missing(path)
    if is_table:
        return find_in_table(path, config.video_folder and config.video_folder.expanduser(), stills=stills)
    if path.is_dir():
        return find_in_folder(path, stills=stills)
    kind = kind_of(path)
    if kind is None:
        known = ", ".join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES | TABLE_SUFFIXES | {".tar"}))
        raise UsageError(f"`{path}` is not footage", hint=f"`--videos` takes a folder, or a file with suffix {known}")
    if kind == "still" and not stills:
        raise UsageError(f"`{path}` is a still image and has no motion", hint="add a camera move: `--shot zoom-in`")
    return FoundMedia((Media(path.name, path, kind, caption_beside(path)),))


def _missing(path: Path) -> NotFound:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = closest(path.name, siblings)
    hint = f"did you mean `{path.parent / close}`?" if close else "`--videos` takes a folder of videos"
    return NotFound(f"`{path}` does not exist", hint=hint)


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its files; a folder with several links to it once."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = [name for name in names if (folder / name).is_dir()]
    yield folder, [name for name in names if name not in folders]
    for name in folders:
        yield from _walk(folder / name, seen)


def _name(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
