"""Lists of videos and captions: JSON Lines and CSV, with the columns of WebVid and of the Hub's video folders."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.training.data.media import (
    CAPTION_KEYS,
    MISSING,
    FoundMedia,
    Media,
    Skip,
    caption_of,
    classify,
    text_encoding,
)

#: lists with these names apply to the folder that contains them
METADATA = ("metadata.jsonl", "metadata.csv")
TABLE_SUFFIXES = frozenset({".csv", ".jsonl"})
#: columns that name the file, first match wins
FILE_KEYS = ("file_name", "path", "file", "video", "video_path")
#: WebVid names a video by its number, in a folder named after the page it came from
WEBVID_KEY, WEBVID_FOLDER = "videoid", "page_dir"
#: characters of one line of JSON Lines
MAX_LINE = 1 << 20


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
        if not os.path.isfile(path):  # noqa: PTH113 - False for names that are too long or contain NUL
            skipped.append((name, MISSING))
            continue
        kind, reason = classify(path.name, path, stills=stills)
        if kind is None:
            skipped.append((name, reason or f"`{path.suffix}` is not a video suffix"))
        else:
            media.append(Media(name, path, kind, caption))
    return FoundMedia(tuple(media), tuple(skipped))


def read_table(table: Path, base: Path | None = None) -> list[tuple[Path, str | None]]:
    """Return (file, caption) of each row. Paths are relative to `base`, by default to the list. Raises `UsageError`."""
    base = base or table.parent
    return [(_file_of(row, base, table), caption_of(row)) for row in _rows(table)]


def _rows(table: Path) -> Iterator[Mapping[str, object]]:
    read = _csv_rows if table.suffix.lower() == ".csv" else _json_rows
    try:
        with table.open("rb") as file:
            encoding = text_encoding(file.read(4096))
        with table.open(encoding=encoding, newline="") as file:
            yield from read(table, file)
    except OSError as error:
        raise UsageError(f"cannot read `{table}`: {(error.strerror or str(error)).lower()}") from error
    except (csv.Error, UnicodeError) as error:
        raise UsageError(f"cannot read `{table}`: {error}", hint="save it as UTF-8 text") from error


def _csv_rows(table: Path, file: TextIO) -> Iterator[Mapping[str, object]]:
    reader = csv.reader(file, strict=True, skipinitialspace=True)
    header = [name.strip() for name in next(reader, [])]
    for row in reader:
        if len(row) > len(header):
            raise UsageError(
                f"`{table}`, line {reader.line_num}: {len(row)} values for {len(header)} columns",
                hint='quote captions that contain commas: `a.mp4,"a fox, running"`',
            )
        if row:
            yield dict(zip(header, row, strict=False))


def _json_rows(table: Path, file: TextIO) -> Iterator[Mapping[str, object]]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line) if len(line) < MAX_LINE else None
        except ValueError as error:
            reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error).lower()
            raise UsageError(f"`{table}`, line {number}: {reason}", hint=_EXAMPLE) from error
        if not isinstance(row, dict):
            raise UsageError(f"`{table}`, line {number}: not an object", hint=_EXAMPLE)
        yield row


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
