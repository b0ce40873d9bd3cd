"""A folder as people keep footage: videos, stills and folders of frames, captions beside them."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from animdiff_cli.training.data.media import GONE, NO_MOTION, Found, Media, Skip, kind_of, one_line
from animdiff_cli.training.data.tables import METADATA, listed

_NUMBERED = re.compile(r"(.*?)(\d+)")


def look_in(root: Path, *, stills: bool) -> Found:
    """List the footage below `root`, in order of name; hidden files are passed over, links followed once.

    A folder that holds no other footage than pictures numbered without a gap (`00000.png`, `frame_1.jpg`) is one clip;
    `root` itself only where no stills are wanted. Other pictures are skipped by name unless `stills` are wanted.
    Captions are `name.txt` beside `name.mp4`, or a `metadata.jsonl` or `metadata.csv` in that folder or above it.
    Raises `UsageError` for a list that cannot be read.
    """
    folders = list(_walk(root, set()))
    lists = [listed(folder / name) for folder, files in folders for name in METADATA if name in files]
    captions = {file: caption for rows in lists for file, caption in rows}
    media: list[Media] = []
    skipped: list[Skip] = [(_name(file, root), GONE) for file in captions if not os.path.lexists(file)]
    for folder, files in folders:
        frames = () if stills and folder == root else numbered(files)
        if frames:
            caption = caption_beside(folder) or captions.get(folder)
            media.append(Media(_name(folder, root), folder, "frames", caption, frames=frames))
            continue
        for path in (folder / file for file in files):
            kind = kind_of(path)
            if kind and not path.is_file():
                skipped.append((_name(path, root), "a link that leads nowhere"))
            elif kind == "still" and not stills:
                skipped.append((_name(path, root), NO_MOTION))
            elif kind:
                media.append(Media(_name(path, root), path, kind, caption_beside(path) or captions.get(path)))
    return Found(tuple(media), tuple(skipped))


def numbered(files: Sequence[str]) -> tuple[str, ...]:
    """Order the pictures of a folder by their number; empty unless they count up from 0 or 1 without a gap.

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
    steady = all(after[:2] == (before[0] + 1, before[1]) for before, after in pairwise(parts))
    return tuple(file for _, _, file in parts) if steady and parts[0][0] in (0, 1) else ()


def caption_beside(path: Path) -> str | None:
    """Read `name.txt` beside `name.mp4`; None where there is none or it is empty."""
    with suppress(FileNotFoundError, IsADirectoryError):
        return one_line(path.with_name(f"{path.stem}.txt").read_text(encoding="utf-8", errors="replace")) or None
    return None


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its files, each folder once, however many links lead to it."""
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
