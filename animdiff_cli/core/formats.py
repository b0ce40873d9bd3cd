"""The table of output formats: names, suffixes, media types, limits, and where each one stores the recipe.

Writing, reading, reports, `doctor` and `--help` use it. To add a format: add its name to `Format`, a row to `FORMATS`,
and a writer to `outputs.write.WRITERS`; a new `RecipeCarrier` also needs a reader in `outputs.provenance`. The
tests check every row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError

Format = Literal["gif", "mp4", "webm", "webp", "apng", "frames"]
#: where a file stores its recipe; `outputs.provenance` has a reader for each
RecipeCarrier = Literal["gif-comment", "png-text", "webp-exif", "video-comment", "json"]


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One row: what the rest of the program needs to know about a format."""

    #: media type by suffix; files are written with the first suffix, the others are accepted; "" is a folder
    suffixes: Mapping[str, str]
    carrier: RecipeCarrier
    signature: re.Pattern[bytes]  # how the file that stores the recipe begins; the longest match counts
    encoder: str | None = None  # of ffmpeg; None: Pillow writes it
    max_fps: float | None = None

    @property
    def suffix(self) -> str:
        """Suffix that files are written with; empty for a folder."""
        return next(iter(self.suffixes))

    @property
    def is_folder(self) -> bool:
        """True if a clip is a folder of files."""
        return self.suffix == ""


FORMATS: Mapping[Format, OutputFormat] = {
    # players show a GIF delay below 2 centiseconds as 10, so faster clips would crawl
    "gif": OutputFormat({".gif": "image/gif"}, "gif-comment", re.compile(rb"GIF8[79]a"), encoder="gif", max_fps=50),
    "mp4": OutputFormat({".mp4": "video/mp4"}, "video-comment", re.compile(rb"....ftyp", re.DOTALL), encoder="libx264"),
    "webm": OutputFormat(
        {".webm": "video/webm"}, "video-comment", re.compile(rb"\x1a\x45\xdf\xa3"), encoder="libvpx-vp9"
    ),
    "webp": OutputFormat({".webp": "image/webp"}, "webp-exif", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    # every viewer opens an APNG that is called `.png`
    "apng": OutputFormat({".png": "image/png", ".apng": "image/apng"}, "png-text", re.compile(rb"\x89PNG\r\n\x1a\n")),
    "frames": OutputFormat({"": ""}, "json", re.compile(rb"(\xef\xbb\xbf)?\s*\{")),
}

#: in a folder of frames: the recipe, and the mark that the folder is a clip
RECIPE_FILE = "recipe.json"

#: suffix → format, of everything that is written
BY_SUFFIX: Mapping[str, Format] = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}
#: suffix → media type, of what is read and not written; empty if browsers do not play it
READ_ONLY: Mapping[str, str] = {".m4v": "video/mp4", ".mov": "", ".mkv": "", ".avi": ""}
MEDIA_TYPES: Mapping[str, str] = {
    suffix: media_type for row in FORMATS.values() if not row.is_folder for suffix, media_type in row.suffixes.items()
} | {suffix: media_type for suffix, media_type in READ_ONLY.items() if media_type}

#: suffixes of clips that Pillow reads, of clips that ffmpeg reads, and of single images
ANIMATION_SUFFIXES = frozenset(suffix for suffix, media_type in MEDIA_TYPES.items() if media_type.startswith("image/"))
VIDEO_SUFFIXES = frozenset(
    {suffix for suffix, media_type in MEDIA_TYPES.items() if media_type.startswith("video/")} | READ_ONLY.keys()
)
CLIP_SUFFIXES = ANIMATION_SUFFIXES | VIDEO_SUFFIXES
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

#: formats that are one file, for help and hints: `gif, mp4, …`
FILE_FORMATS = ", ".join(name for name, row in FORMATS.items() if not row.is_folder)


def parse_format(name: str) -> Format:
    """Return `name` as a format. Raises `UsageError` for an unknown one.

    >>> parse_format("webm")
    'webm'
    """
    for known in FORMATS:
        if name == known:
            return known
    hint = did_you_mean(name, FORMATS, otherwise=f"formats are {', '.join(FORMATS)}")
    raise UsageError(f"unknown output format `{name}`", hint=hint)


def format_of(path: PurePath) -> Format:
    """Return the format that the suffix of `path` names; no suffix means a folder of frames. Raises `UsageError`.

    >>> format_of(PurePath("fox.PNG")), format_of(PurePath("fox"))
    ('apng', 'frames')
    """
    suffix = path.suffix.lower()
    if suffix not in BY_SUFFIX:
        known = ", ".join(filter(None, BY_SUFFIX))
        raise UsageError(f"`{path.name}`: no format ends in `{suffix}`", hint=f"use one of {known}")
    return BY_SUFFIX[suffix]
