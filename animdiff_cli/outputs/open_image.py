"""Open untrusted image files: known formats only, and size limits that are checked before decoding."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import GifImagePlugin, Image, UnidentifiedImageError

from animdiff_cli.errors import AnimdiffError
from animdiff_cli.files.os_errors import REASONS
from animdiff_cli.outputs.ffmpeg import DecodeError

#: Pillow's names of the formats that are opened. Others are rare, and EPS makes Pillow run Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
#: pixels of one image: Pillow needs 4 bytes for each, several times while it converts
MAX_PIXELS = 64 << 20
#: bytes of a file: Pillow reads WebP and AVIF whole when it opens them
MAX_FILE_BYTES = 256 << 20
#: Pillow logs some errors that it also raises; without a handler they would be printed
_NO_OUTPUT = logging.NullHandler()


@contextmanager
def open_image(source: Path | IO[bytes], formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Open an image. Checks its size; nothing is decoded before the caller asks for pixels.

    Raises `DecodeError`, also for errors that decoding raises inside the context.
    """
    logging.getLogger("PIL").addHandler(_NO_OUTPUT)
    try:
        # Pillow also warns about damage, but errors are clearer
        with warnings.catch_warnings(action="ignore"):
            if isinstance(source, Path):
                _check_file(source)
            with _open(source, formats) as image:
                _check_size(image.size)
                yield image
    except AnimdiffError:
        raise
    except Exception as error:  # Pillow raises nearly every type of exception for a damaged file
        raise DecodeError(_reason(error)) from error


def frame_count(image: Image.Image) -> int:
    """Return the number of frames that an image file claims; nothing is decoded."""
    return getattr(image, "n_frames", 1)


def flatten(image: Image.Image) -> Image.Image:
    """Convert to RGB, compositing transparency over white: the colour of transparent pixels is arbitrary."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    background = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(background, layer).convert("RGB")


def is_transparent(image: Image.Image) -> bool:
    """Return whether any pixel is not opaque; many images have an alpha channel and do not use it."""
    if not image.has_transparency_data:
        return False
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return bool(alpha.min() < 255)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DecodeError("not a regular file" if path.exists() else "there is no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DecodeError(f"larger than {MAX_FILE_BYTES >> 20} MiB")


class _Gif(GifImagePlugin.GifImageFile):
    """A GIF whose canvas is checked before it grows: a frame may exceed it, and Pillow allocates memory at once."""

    @property
    def _size(self) -> tuple[int, int]:
        return self._checked_size

    @_size.setter
    def _size(self, size: tuple[int, int]) -> None:
        _check_size(size)
        self._checked_size = size


def _open(source: Path | IO[bytes], formats: tuple[str, ...]) -> Image.Image:
    if "GIF" in formats and _starts_like_a_gif(source):
        return _Gif(source)
    return Image.open(source, formats=formats)


def _starts_like_a_gif(source: Path | IO[bytes]) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _starts_like_a_gif(file)
    head = source.read(4)
    source.seek(0)
    return head == b"GIF8"


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DecodeError(f"{size[0]}×{size[1]} pixels, more than {MAX_PIXELS // 10**6} million")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or damaged"
    if isinstance(error, OSError) and error.errno:
        return REASONS.get(error.errno, (error.strerror or str(error)).lower())
    return f"damaged: {str(error).lower()}" if str(error) else "damaged"
