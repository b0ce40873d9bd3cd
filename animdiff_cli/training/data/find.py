"""Find footage for the `videos` setting: a folder, one file, a list or WebDataset shards."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.suggest import closest
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import read_bytes
from animdiff_cli.training.data.media import (
    MAX_CAPTION_BYTES,
    MISSING,
    NO_MOTION,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    FoundMedia,
    Media,
    Skip,
    classify,
    kind_of,
    picture_kind,
    read_caption,
)
from animdiff_cli.training.data.shards import find_in_shards, is_shards
from animdiff_cli.training.data.tables import METADATA, TABLE_SUFFIXES, find_in_table, read_table

_NUMBERED = re.compile(r"(.*?)(\d+)")


def find(config: DataConfig) -> FoundMedia:
    """List the footage of a data set without opening any video.

    Raises `NotFound` if the path does not exist or contains no footage, `UsageError` if it is of the wrong kind.
    """
    path = paths.expanded(config.videos)
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

    A folder whose only footage is pictures numbered without a gap (`00000.png`, `frame_1001.jpg`) is one clip; this
    holds for `root` itself only without `stills`. Other pictures are used with `stills` and skipped otherwise, as is
    media in formats that are not read. Captions come from `name.txt` beside `name.mp4`, or from a `metadata.jsonl` or
    `metadata.csv` in that folder or a folder above.
    Raises `UsageError` for a list that cannot be read.
    """
    skipped: list[Skip] = []
    folders = list(_walk(root, skipped))
    tables = [folder / name for folder, files in folders for name in METADATA if name in files]
    lists = [read_table(table) for table in tables if table.is_file()]
    captions = Captions({file: caption for rows in lists for file, caption in rows})
    media: list[Media] = []
    skipped += [(_name(file, root), MISSING) for file in captions.listed if not os.path.lexists(file)]
    for folder, files in folders:
        frames = () if stills and folder == root else numbered(files)
        if frames and not any(picture_kind(folder / frame) == "animation" for frame in frames):
            media.append(Media(_name(folder, root), folder, "frames", captions.of(folder), frames=frames))
            continue
        for path in (folder / file for file in files):
            kind, reason = classify(path.name, path, stills=stills)
            if (kind or reason) and not path.is_file():
                skipped.append((_name(path, root), "broken link" if path.is_symlink() else "not a regular file"))
            elif reason:
                skipped.append((_name(path, root), reason))
            elif kind:
                media.append(Media(_name(path, root), path, kind, captions.of(path)))
    return FoundMedia(tuple(media), tuple(skipped), tuple(_name(path, root) for path in captions.unreadable))


@dataclass(slots=True)
class Captions:
    """Captions of files: from a text file beside each, else from the rows of lists."""

    listed: Mapping[Path, str | None] = field(default_factory=dict)
    unreadable: list[Path] = field(default_factory=list)  # files that are not text

    def of(self, path: Path) -> str | None:
        """Return the caption in `name.txt` beside `name.mp4`, else that of a list, else None."""
        beside = path.with_name(f"{path.stem}.txt")
        with suppress(OSError):
            try:
                if caption := read_caption(read_bytes(beside, max_bytes=MAX_CAPTION_BYTES)):
                    return caption
            except ValueError:
                self.unreadable.append(beside)
        return self.listed.get(path)


def numbered(files: Sequence[str]) -> tuple[str, ...]:
    """Sort the pictures of a folder by number; empty unless they count up without a gap, or if there are videos too.

    Two pictures are a sequence only from 0 or 1 on; three or more from any number, as in `1001.png`.

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
    is_sequence = consecutive and (parts[0][0] in (0, 1) or len(parts) > 2)
    return tuple(file for _, _, file in parts) if is_sequence else ()


def _find(path: Path, config: DataConfig, is_table: bool) -> FoundMedia:
    stills = config.shot is not None or config.num_frames == 1
    if is_shards(path):
        return find_in_shards(path, stills=stills)
    if not path.exists():
        raise _missing(path)
    if is_table:
        return find_in_table(path, config.video_folder and paths.expanded(config.video_folder), stills=stills)
    if path.is_dir():
        return find_in_folder(path, stills=stills)
    if not path.is_file():
        raise UsageError(f"`{path}` is neither a folder nor a regular file", hint="`--videos` takes a folder of videos")
    kind, reason = classify(path.name, path, stills=stills)
    if reason == NO_MOTION:
        raise UsageError(f"`{path}` is a still image and has no motion", hint="add a camera move: `--shot zoom-in`")
    if kind is None:
        known = ", ".join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES | TABLE_SUFFIXES | {".tar"}))
        message = f"`{path}` is not footage" if reason is None else f"cannot use `{path}`: {reason}"
        raise UsageError(message, hint=f"`--videos` takes a folder, or a file with suffix {known}")
    captions = Captions()
    media = Media(path.name, path, kind, captions.of(path))
    return FoundMedia((media,), unreadable=tuple(file.name for file in captions.unreadable))


def _missing(path: Path) -> NotFound:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = closest(path.name, siblings)
    hint = f"did you mean `{path.parent / close}`?" if close else "`--videos` takes a folder of videos"
    return NotFound(f"`{path}` does not exist", hint=hint)


def _walk(root: Path, skipped: list[Skip]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its files; a folder with several links to it once.

    Adds folders that cannot be read to `skipped`.
    """
    seen: set[tuple[int, int]] = set()
    stack = [root]
    while stack:
        folder = stack.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
            folders = [name for name in names if (folder / name).is_dir()]
        except OSError as error:
            skipped.append((_name(folder, root), (error.strerror or str(error)).lower()))
            continue
        yield folder, [name for name in names if name not in folders]
        stack += [folder / name for name in reversed(folders)]


def _name(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
