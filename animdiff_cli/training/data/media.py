"""One piece of footage: where it lies and what kind it is. No decoding here."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from animdiff_cli.core import formats

VIDEO_SUFFIXES = formats.VIDEO_SUFFIXES | {".gif", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv"}
PICTURE_SUFFIXES = formats.IMAGE_SUFFIXES | {".tif", ".tiff"}

Kind = Literal["video", "still", "frames"]
#: what was left out, and why: (name, reason)
Skip = tuple[str, str]

GONE = "there is no such file"
NO_MOTION = "a still has no motion of its own; `--shot` makes some"
#: `caption` and `text` are everyone's, `name` is WebVid's
CAPTION_KEYS = ("caption", "text", "prompt", "name")

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Media:
    """A video, a still, or a folder of frames, and what it is said to show."""

    name: str  # as the user knows it: relative to what was asked for
    path: Path  # the file, the tar archive that holds it, or the folder
    kind: Kind
    caption: str | None = None
    span: tuple[int, int] | None = None  # bytes [start, end) of the archive
    frames: tuple[str, ...] = ()  # file names of a folder of frames, in order


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to look at, in a fixed order, and what was passed over already."""

    media: tuple[Media, ...]
    skipped: tuple[Skip, ...] = field(default=())


def kind_of(path: Path | str) -> Literal["video", "still"] | None:
    """Tell by the suffix; None for a file that is no footage."""
    suffix = Path(path).suffix.lower()
    return "video" if suffix in VIDEO_SUFFIXES else "still" if suffix in PICTURE_SUFFIXES else None


def digest_of(media: Media) -> str:
    """Hash the bytes of the footage, wherever they lie: sha256."""
    digest = hashlib.sha256()
    for chunk in _content(media):
        digest.update(chunk)
    return digest.hexdigest()


def captioned(row: Mapping[str, object]) -> str | None:
    """Take the caption out of a record, whatever its makers call it; None where there is none."""
    for key in CAPTION_KEYS:
        if isinstance(text := row.get(key), str) and text.strip():
            return one_line(text)
    return None


def one_line(text: str) -> str:
    """Join the words of a caption file: line breaks mean nothing to a text encoder."""
    return " ".join(text.removeprefix("\ufeff").split())


def _content(media: Media) -> Iterator[bytes]:
    if media.kind == "frames":
        for name in media.frames:
            yield (media.path / name).read_bytes()
        return
    start, end = media.span or (0, media.path.stat().st_size)
    with media.path.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK, end - start))):
            start += len(chunk)
            yield chunk
