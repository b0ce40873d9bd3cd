"""Footage files: their kind, location, caption and timeline. Nothing is decoded here."""

import codecs
import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal

from animdiff_cli.core import formats

VIDEO_SUFFIXES = formats.VIDEO_SUFFIXES | {
    *(".gif", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogm"),
    *(".3gp", ".3g2", ".mxf", ".y4m", ".dv", ".rm", ".rmvb", ".divx", ".qt", ".ivf", ".nut"),
}
PICTURE_SUFFIXES = formats.IMAGE_SUFFIXES | {".apng", ".jfif", ".jpe", ".tif", ".tiff", ".avif"}

#: suffix → remedy, of media that is not read; `mimetypes` knows more, and misses these
UNREAD_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".jxl", ".jp2", ".psd", ".exr", ".dpx", ".tga", ".svg"), "PNG or JPEG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), "PNG or JPEG"),
    **dict.fromkeys((".braw", ".r3d", ".avs", ".swf", ".m3u8", ".m3u", ".mpd", ".ffconcat"), "MP4"),
}
_TYPES = mimetypes.MimeTypes()  # Python's own table; that of the system differs between machines

Kind = Literal["video", "still", "animation", "frames"]
#: a file that is left out, and why: (name, reason)
Skip = tuple[str, str]

MISSING = "no such file"
NO_MOTION = "a still image has no motion; `--shot` adds a camera move"
#: keys of a caption in a record, first match wins; `name` is WebVid's
CAPTION_KEYS = ("caption", "text", "prompt", "name")
#: far above any caption
MAX_CAPTION_BYTES = 1 << 20

#: control characters except white space
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Media:
    """A video, a still image, an animated image or a folder of frames, with its caption."""

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
    unreadable: tuple[str, ...] = field(default=())  # caption files that are not text


@dataclass(frozen=True, slots=True)
class Timeline:
    """Result of probing a video: displayed size (upright, square pixels), frame times and scene cuts."""

    width: int
    height: int
    times: tuple[float, ...]  # seconds, increasing
    cuts: tuple[int, ...] = ()  # first frame of every scene except the first scene
    transparent: bool = False  # frames are composited over white
    decoder: str | None = None  # of ffmpeg, if its default one ignores transparency

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


def why_unread(path: Path | str) -> str | None:
    """Return why a file that looks like media is not read; None for other files.

    >>> why_unread("IMG_1.HEIC"), why_unread("notes.txt")
    ('`.heic` files are not supported: convert them to PNG or JPEG', None)
    """
    suffix = Path(path).suffix.lower()
    media_type = _TYPES.guess_type(f"x{suffix}")[0] or ""
    by_type = {"video": "MP4", "image": "PNG or JPEG"}.get(media_type.partition("/")[0])
    remedy = UNREAD_SUFFIXES.get(suffix, by_type)
    return f"`{suffix}` files are not supported: convert them to {remedy}" if remedy else None


def classify(name: str, path: Path, start: int = 0, *, stills: bool) -> tuple[Kind | None, str | None]:
    """Return (kind, None) for usable footage, (None, reason) for media that is left out, (None, None) for other files.

    `name` has the suffix; `path` and `start` locate the bytes, which may be inside an archive.
    """
    kind = kind_of(name)
    if kind is None:
        return None, why_unread(name)
    if kind == "video":
        return kind, None
    found = picture_kind(path, start)
    return (None, NO_MOTION) if found == "still" and not stills else (found, None)


def picture_kind(path: Path, start: int = 0) -> Literal["still", "animation"]:
    """Return "animation" for an animated WebP or PNG, from its first bytes; `start` is its offset in an archive."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(start)
        head = file.read(21)
        if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
            return "animation" if head[20] & 2 else "still"
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return "animation" if _has_animation_chunk(file, start + 8) else "still"
    return "still"


def _has_animation_chunk(file: BinaryIO, at: int) -> bool:
    """Walk the chunks before the pixels of a PNG."""
    for _ in range(1000):
        file.seek(at)
        length, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if name == b"acTL":
            return True
        if name in (b"IDAT", b""):
            return False
        at += 12 + length
    return False


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
    """Collapse whitespace, line breaks and control characters; remove a byte order mark and lone surrogates."""
    shown = _CONTROL.sub(" ", text.removeprefix("\ufeff"))
    return " ".join(shown.encode("utf-8", "ignore").decode().split())


def text_encoding(head: bytes) -> str:
    """Return the encoding of a text that begins with `head`: UTF-16 or UTF-32 as Windows writes them, else UTF-8.

    Without a byte order mark, UTF-16 is recognized by every second byte being zero, mostly.

    >>> text_encoding("a fox".encode("utf-16")), text_encoding("a fox".encode("utf-16-be")), text_encoding(b"a fox")
    ('utf-16', 'utf-16-be', 'utf-8-sig')
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-32" if head.startswith(codecs.BOM_UTF32_LE) else "utf-16"
    halves = {"utf-16-be": (head[::2], head[1::2]), "utf-16-le": (head[1::2], head[::2])}  # high bytes, low bytes
    found = (name for name, (high, low) in halves.items() if 2 * high.count(0) > len(high) and not low.count(0))
    return next(found, "utf-8-sig")


def read_caption(raw: bytes) -> str | None:
    """Decode the text of a caption; None if it is empty. Raises `ValueError` unless it is UTF-8 or UTF-16."""
    text = raw.decode(text_encoding(raw))
    if _CONTROL.search(text):
        raise ValueError("contains control characters: not a text")
    return one_line(text) or None


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
