"""The recipe inside every file: how each format carries it, and how to get it back.

The recipe is one JSON object in plain ASCII whose first key is `animdiff`, the version of the layout. It lives in

| format | place |
|---|---|
| gif | comment extension |
| png, apng | `iTXt` chunk with the keyword `animdiff` |
| webp | EXIF `ImageDescription` |
| mp4, webm | the tag `comment` |
| frames | `recipe.json`, and every PNG |
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.outputs.ffmpeg import EncodeError, probe

KEYWORD = "animdiff"
VERSION = 1
RECIPE_FILE = "recipe.json"

_ASK_FOR_ANOTHER = "give a clip that animdiff wrote: gif, mp4, webm, webp, png, a frames folder or its recipe.json"


class NoRecipe(NotFound):
    """A sound file that carries no recipe of ours."""


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """The recipe as files carry it. ASCII, so that no container can spoil prompts in any script; no line breaks."""
    return json.dumps({KEYWORD: VERSION, **recipe}, allow_nan=False)


def png_info(text: str) -> PngInfo:
    """The chunk that a PNG or APNG carries."""
    info = PngInfo()
    info.add_itxt(KEYWORD, text)
    return info


def exif(text: str) -> Image.Exif:
    """The EXIF block that a WebP carries."""
    block = Image.Exif()
    block[ExifTags.Base.ImageDescription] = text
    return block


def ffmetadata(text: str) -> str:
    """The tags of an mp4 or webm in ffmpeg's metadata format, which escapes `=`, `;`, `#`, backslashes and newlines."""
    return ";FFMETADATA1\ncomment=" + re.sub(r"([=;#\\\n])", r"\\\1", text) + "\n"


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe in a file or frames folder, as it was given to the writer plus the key `animdiff`.

    The content decides, not the suffix. Raises `NotFound` when there is no such file, `NoRecipe` when it carries none,
    `UsageError` when it is damaged, of another kind, or from a later version.
    """
    path = path / RECIPE_FILE if path.is_dir() else path
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise NotFound(
            f"cannot read `{path}`: {(error.strerror or str(error)).lower()}", hint=_ASK_FOR_ANOTHER
        ) from error
    return _parse(_carrier(head, path)(path), path)


def _carrier(head: bytes, path: Path) -> Callable[[Path], str | None]:
    for signature, read in _CARRIERS:
        if signature.match(head):
            return read
    raise UsageError(f"`{path}` is not a file that animdiff writes", hint=_ASK_FOR_ANOTHER)


def _from_json(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace")


def _from_picture(path: Path) -> str | None:
    try:
        # Pillow also warns of damage; what comes out, or the refusal, says it better
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=tuple(_PICTURE_TEXT)) as picture:
            found = _PICTURE_TEXT[picture.format or ""](picture)
    # Pillow lets what a damaged file provokes through as it comes
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
        raise _damaged(path) from error
    found = found.decode("ascii", errors="replace") if isinstance(found, bytes) else found
    return found if isinstance(found, str) else None


def _from_video(path: Path) -> str | None:
    try:
        said = probe(path, ["-f", "ffmetadata"]).decode(errors="replace")
    except (EncodeError, OSError) as error:
        raise _damaged(path) from error
    # Matroska shouts its keys
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)", said, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else None


#: what Pillow calls a format → where its recipe is; a damaged file may hold anything there
_PICTURE_TEXT: dict[str, Callable[[Image.Image], object]] = {
    "GIF": lambda picture: picture.info.get("comment"),
    "PNG": lambda picture: picture.info.get(KEYWORD),
    "WEBP": lambda picture: picture.getexif().get(ExifTags.Base.ImageDescription),
}
#: how a file begins → how to get at what it carries
_CARRIERS: tuple[tuple[re.Pattern[bytes], Callable[[Path], str | None]], ...] = (
    (re.compile(rb"GIF8[79]a"), _from_picture),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _from_picture),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _from_picture),
    (re.compile(rb"....ftyp", re.DOTALL), _from_video),
    (re.compile(rb"\x1a\x45\xdf\xa3"), _from_video),
    (re.compile(rb"(\xef\xbb\xbf)?\s*\{"), _from_json),
)


def _parse(text: str | None, path: Path) -> dict[str, Any]:
    try:
        recipe = parse_json((text or "").removeprefix("\ufeff"))
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict) or not isinstance(recipe.get(KEYWORD), int):
        raise NoRecipe(
            f"`{path}` carries no animdiff recipe",
            hint="programs that re-encode a clip drop it: give the original file",
        )
    if recipe[KEYWORD] > VERSION:
        raise UsageError(
            f"`{path}` was made by a later animdiff (recipe version {recipe[KEYWORD]})",
            hint="upgrade with `pip install --upgrade animdiff`",
        )
    return recipe


def _damaged(path: Path) -> UsageError:
    return UsageError(f"`{path}` is damaged or cut off", hint=_ASK_FOR_ANOTHER)
