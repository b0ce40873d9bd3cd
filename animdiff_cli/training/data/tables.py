"""Lists of videos and captions: JSON Lines and CSV, with the columns of WebVid and of the Hub's video folders."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.training.data.media import (
    CAPTION_KEYS,
    MISSING,
    NO_MOTION,
    FoundMedia,
    Media,
    Skip,
    caption_of,
    kind_of,
)

#: lists with these names apply to the folder that contains them
METADATA = ("metadata.jsonl", "metadata.csv")
TABLE_SUFFIXES = frozenset({".csv", ".jsonl"})
#: columns that name the file, first match wins
FILE_KEYS = ("file_name", "path", "file", "video", "video_path")
#: WebVid names a video by its number, in a folder named after the page it came from
WEBVID_KEY, WEBVID_FOLDER = "videoid", "page_dir"


def find_in_table(table: Path, folder: Path | None, *, stills: bool) -> FoundMedia:
    """List the footage of a CSV or JSONL file in its order. Paths are relative to `folder`, by default to the list.

    Raises `UsageError` if the list cannot be read or names no files, `NotFound` if `folder` does not exist.
    """
    if folder is not None and not folder.is_dir():
        raise NotFound(f"`{folder}` is not a folder", hint="`--set data.video_folder=DIR`: the folder of the videos")
    base = folder or table.parent
    media: list[Media] = []
    skipped: list[Skip] = []
    for path, caption in read_table(table, base):
        name = os.path.relpath(path, base) if path.is_relative_to(base) else str(path)
        kind = kind_of(path)
        if not path.is_file():
            skipped.append((name, MISSING))
        elif kind is None:
            skipped.append((name, f"`{path.suffix}` is not a video suffix"))
        elif kind == "still" and not stills:
            skipped.append((name, NO_MOTION))
        else:
            media.append(Media(name, path, kind, caption))
    return FoundMedia(tuple(media), tuple(skipped))


def read_table(table: Path, base: Path | None = None) -> list[tuple[Path, str | None]]:
    """Return (file, caption) of each row. Paths are relative to `base`, by default to the list. Raises `UsageError`."""
    base = base or table.parent
    return [(_file_of(row, base, table), caption_of(row)) for row in _rows(table)]


def _rows(table: Path) -> Iterator[Mapping[str, object]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            if table.suffix.lower() == ".csv":
                yield from csv.DictReader(file, strict=True)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = parse_json(line)
                    if not isinstance(row, dict):
                        raise UsageError(f"`{table}`, line {number}: not an object", hint=_EXAMPLE)
                    yield row
    except json.JSONDecodeError as error:
        raise UsageError(f"`{table}`, line {number}: {error.msg.lower()}", hint=_EXAMPLE) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read `{table}`: {error}", hint="save it as UTF-8 text") from error


_EXAMPLE = 'example of a line: `{"file_name": "a.mp4", "caption": "a fox runs"}`'


def _file_of(row: Mapping[str, object], base: Path, table: Path) -> Path:
    """Return the file of a row. For WebVid, which is packed in several ways, the first candidate that exists."""
    for key in FILE_KEYS:
        if isinstance(value := row.get(key), str) and value.strip():
            return base / value.strip()
    number = row.get(WEBVID_KEY)
    if number in (None, ""):
        known = ", ".join((*FILE_KEYS, WEBVID_KEY))
        raise UsageError(
            f"`{table}`: a row names no file",
            hint=f"columns for the file: {known}; for the caption: {', '.join(CAPTION_KEYS)}",
        )
    page = row.get(WEBVID_FOLDER) or ""
    candidates = [base / f"{number}.mp4", base / str(page) / f"{number}.mp4"]
    return next((path for path in candidates if path.is_file()), candidates[0])
