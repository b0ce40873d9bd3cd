"""Footage files: their kind, location, caption and timeline. Nothing is decoded here."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from animdiff_cli.core import formats

VIDEO_SUFFIXES = formats.VIDEO_SUFFIXES | {".gif", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv"}
PICTURE_SUFFIXES = formats.IMAGE_SUFFIXES | {".tif", ".tiff"}

Kind = Literal["video", "still", "frames"]
#: a file that is left out, and why: (name, reason)
Skip = tuple[str, str]

MISSING = "no such file"
NO_MOTION = "a still image has no motion; `--shot` adds a camera move"
#: keys of a caption in a record, first match wins; `name` is WebVid's
CAPTION_KEYS = ("caption", "text", "prompt", "name")

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Media:
    """A video, a still image or a folder of frames, with its caption."""

    name: str  # relative to the path the user gave
    path: Path  # the file, the tar archive that contains it, or the folder
    kind: Kind
    caption: str | None = None
    span: tuple[int, int] | None = None  # bytes [start, end) of the archive
    frames: tuple[str, ...] = ()  # file names of a folder of frames, in order


@dataclass(frozen=True, slots=True)
class FoundMedia:
    """Footage in a fixed order, and the files that were left out."""

    media: tuple[Media, ...]
    skipped: tuple[Skip, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Timeline:
    """Result of probing a video: displayed size (upright, square pixels), frame times and scene cuts."""

    width: int
    height: int
    times: tuple[float, ...]  # seconds, increasing
    cuts: tuple[int, ...] = ()  # first frame of every scene except the first scene

    @property
    def rate(self) -> float:
        """Average frames per second; 0 for a single frame."""
        length = self.times[-1] - self.times[0]
        return (len(self.times) - 1) / length if length > 0 else 0.0

    def scenes(self, *, avoid_cuts: bool = True) -> list[range]:
        """Return the frame numbers of each scene, in order; one range of all frames without `avoid_cuts`."""
        edges = [0, *(self.cuts if avoid_cuts else ()), len(self.times)]
        return [range(start, end) for start, end in pairwise(edges)]


def kind_of(path: Path | str) -> Literal["video", "still"] | None:
    """Return the kind of a file by its suffix; None if it is not footage."""
    suffix = Path(path).suffix.lower()
    return "video" if suffix in VIDEO_SUFFIXES else "still" if suffix in PICTURE_SUFFIXES else None


def sha256_of_media(media: Media) -> str:
    """Hash the bytes of the footage. A file inside an archive has the hash of the same file outside."""
    digest = hashlib.sha256()
    for chunk in _content(media):
        digest.update(chunk)
    return digest.hexdigest()


def caption_of(record: Mapping[str, object]) -> str | None:
    """Return the caption in a record (see `CAPTION_KEYS`); None if it has none."""
    for key in CAPTION_KEYS:
        if isinstance(text := record.get(key), str) and text.strip():
            return one_line(text)
    return None


def one_line(text: str) -> str:
    """Collapse whitespace and line breaks, and remove a byte order mark."""
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
