"""Lists of videos and captions: JSON lines and CSV, with the columns of WebVid and of the Hub's video folders."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.training.data.media import CAPTION_KEYS, GONE, NO_MOTION, Found, Media, Skip, captioned, kind_of

#: names under which a list applies to the folder it lies in
METADATA = ("metadata.jsonl", "metadata.csv")
TABLE_SUFFIXES = frozenset({".csv", ".jsonl"})
#: columns that name the file, first match wins
FILE_KEYS = ("file_name", "path", "file", "video", "video_path")
#: WebVid names a video by its number, below a folder for the page it came from
WEBVID_KEY, WEBVID_FOLDER = "videoid", "page_dir"


def look_in_table(table: Path, folder: Path | None, *, stills: bool) -> Found:
    """List the footage that a CSV or JSONL file names, in its order, relative to `folder` or else to the list.

    Raises `UsageError` for a list that cannot be read or has no column for the file, `NotFound` for no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise NotFound(
            f"`{folder}` is not a folder", hint="`--set data.video_folder=DIR` says where the files of the list are"
        )
    base = folder or table.parent
    media: list[Media] = []
    skipped: list[Skip] = []
    for path, caption in listed(table, base):
        name = os.path.relpath(path, base) if path.is_relative_to(base) else str(path)
        kind = kind_of(path)
        if not path.is_file():
            skipped.append((name, GONE))
        elif kind is None:
            skipped.append((name, f"no video ends in `{path.suffix}`"))
        elif kind == "still" and not stills:
            skipped.append((name, NO_MOTION))
        else:
            media.append(Media(name, path, kind, caption))
    return Found(tuple(media), tuple(skipped))


def listed(table: Path, base: Path | None = None) -> list[tuple[Path, str | None]]:
    """Read (file, caption) from each row, files relative to `base` or else to the list. Raises `UsageError`."""
    base = base or table.parent
    return [(_located(row, base, table), captioned(row)) for row in _rows(table)]


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
        raise UsageError(f"`{table}` cannot be read: {error}", hint="save it as UTF-8 text") from error


_EXAMPLE = 'a line is written as `{"file_name": "a.mp4", "caption": "a fox runs"}`'


def _located(row: Mapping[str, object], base: Path, table: Path) -> Path:
    """Find the file of a row; for WebVid, which comes packed in several ways, the first place that holds it."""
    for key in FILE_KEYS:
        if isinstance(value := row.get(key), str) and value.strip():
            return base / value.strip()
    number = row.get(WEBVID_KEY)
    if number in (None, ""):
        known = ", ".join((*FILE_KEYS, WEBVID_KEY))
        raise UsageError(
            f"`{table}`: a row names no file",
            hint=f"name it in one of the columns {known}, and its caption in {' or '.join(CAPTION_KEYS)}",
        )
    page = row.get(WEBVID_FOLDER) or ""
    places = [base / f"{number}.mp4", base / str(page) / f"{number}.mp4"]
    return next((place for place in places if place.is_file()), places[0])
