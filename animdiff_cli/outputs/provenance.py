"""Store the recipe in output files, and read it back.

The recipe is one JSON object in plain ASCII. Its first key is `animdiff`, the version of the recipe layout.

| carrier | formats | location |
|---|---|---|
| gif-comment | gif | comment extension |
| png-text | png, apng | `iTXt` chunk with the keyword `animdiff` |
| webp-exif | webp | EXIF `ImageDescription` |
| video-comment | mp4, webm | metadata tag `comment` |
| json | frames | `recipe.json`, and every PNG |
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from animdiff_cli.core.formats import FILE_FORMATS, FORMATS, RECIPE_FILE, RecipeCarrier
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json, read_bytes
from animdiff_cli.outputs.ffmpeg import DecodeError, read_metadata
from animdiff_cli.outputs.open_image import open_image

KEYWORD = "animdiff"
VERSION = 1

_HINT = f"give a file written by animdiff: {FILE_FORMATS}, png, a frames folder or its recipe.json"


class NoRecipe(NotFound):
    """A valid file without an animdiff recipe."""


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """Serialize a recipe as one line of ASCII JSON, which every container stores unchanged whatever the script."""
    return json.dumps({KEYWORD: VERSION, **recipe}, allow_nan=False)


def png_info(text: str) -> PngInfo:
    """Return the text chunk for a PNG or APNG."""
    info = PngInfo()
    info.add_itxt(KEYWORD, text)
    return info


def exif(text: str) -> Image.Exif:
    """Return the EXIF block for a WebP."""
    block = Image.Exif()
    block[ExifTags.Base.ImageDescription] = text
    return block


def ffmetadata(text: str) -> str:
    """Return the tags of an mp4 or webm in ffmpeg's metadata format, with special characters escaped."""
    return ";FFMETADATA1\ncomment=" + re.sub(r"([=;#\\\n])", r"\\\1", text) + "\n"


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the recipe of a file or frames folder: what was passed to the writer, plus the key `animdiff`.

    The format is detected from the content, not the suffix. Raises `NotFound` if the file does not exist, `NoRecipe` if
    it has no recipe, `UsageError` if it is damaged, in an unknown format, or from a later version.
    """
    path = path / RECIPE_FILE if path.is_dir() else path
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise NotFound(f"`{path}` is not a regular file", hint=_HINT)
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise NotFound(f"cannot read `{path}`: {(error.strerror or str(error)).lower()}", hint=_HINT) from error
    return _parse(_detect_carrier(head, path)(path), path)


def _detect_carrier(head: bytes, path: Path) -> Callable[[Path], str | None]:
    matches = [(match.end(), row.carrier) for row in FORMATS.values() if (match := row.signature.match(head))]
    if not matches:
        raise UsageError(f"`{path}` is not in a format that animdiff writes", hint=_HINT)
    _, carrier = max(matches)  # the longest signature is the most specific
    return _READERS[carrier]


def _from_json(path: Path) -> str | None:
    try:
        return read_bytes(path).decode("utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read `{path}`: {error}", hint=_HINT) from error


def _from_picture(path: Path, pillow_format: str, extract: Callable[[Image.Image], object]) -> str | None:
    try:
        with open_image(path, formats=(pillow_format,)) as picture:
            found = extract(picture)
    except DecodeError as error:
        raise _damaged(path) from error
    found = found.decode("ascii", errors="replace") if isinstance(found, bytes) else found
    return found if isinstance(found, str) else None


def _from_video(path: Path) -> str | None:
    try:
        metadata = read_metadata(path)
    except DecodeError as error:
        raise _damaged(path) from error
    # Matroska writes keys in capitals
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)", metadata, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else None


#: how to read each carrier; a damaged file may yield any type
_READERS: Mapping[RecipeCarrier, Callable[[Path], str | None]] = {
    "gif-comment": lambda path: _from_picture(path, "GIF", lambda picture: picture.info.get("comment")),
    "png-text": lambda path: _from_picture(path, "PNG", lambda picture: picture.info.get(KEYWORD)),
    "webp-exif": lambda path: _from_picture(
        path, "WEBP", lambda picture: picture.getexif().get(ExifTags.Base.ImageDescription)
    ),
    "video-comment": _from_video,
    "json": _from_json,
}


def _parse(text: str | None, path: Path) -> dict[str, Any]:
    try:
        recipe = parse_json((text or "").removeprefix("\ufeff"))
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict) or not isinstance(recipe.get(KEYWORD), int):
        raise NoRecipe(
            f"`{path}` has no animdiff recipe",
            hint="re-encoding a clip removes its recipe: give the original file",
        )
    if recipe[KEYWORD] > VERSION:
        raise UsageError(
            f"`{path}` was written by a later animdiff (recipe version {recipe[KEYWORD]})",
            hint="upgrade with `pip install --upgrade animdiff`",
        )
    return recipe


def _damaged(path: Path) -> UsageError:
    return UsageError(f"`{path}` is damaged or incomplete", hint=_HINT)
