"""The pictures of a clip on the page: a poster, and a sheet with all frames side by side.

Browsers cannot stop a GIF or show frame 7 of it, and play every format differently. A page therefore plays sheets: one
image per clip, whose frames are exact, start at once and stay in step with those of other clips.
"""

import io
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from PIL import Image

from animdiff_cli.outputs.ffmpeg import Frames

#: frames of a sheet; a longer clip is shown with every 2nd, 3rd … frame
MAX_FRAMES = 256
#: pixels of a sheet: 64 MiB in the memory of a browser
MAX_PIXELS = 1 << 24
#: px; WebP has at most 16383
MAX_SIDE = 16_000
#: px, longest side of a poster
POSTER_SIZE = 192
POSTER_QUALITY = 70
SHEET_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Preview:
    """Two WebP files, and where the frames are on the sheet: from left to right, then from top to bottom."""

    poster: bytes
    sheet: bytes
    columns: int
    width: int  # px of a frame on the sheet
    height: int
    count: int  # frames on the sheet
    step: int  # every how many frames of the clip

    def record(self) -> dict[str, int]:
        """Return the layout of the sheet as JSON values."""
        return {
            "columns": self.columns,
            "width": self.width,
            "height": self.height,
            "count": self.count,
            "step": self.step,
        }


def make_preview(frames: Frames, size: int) -> Preview:
    """Draw the poster and the sheet of a clip, uint8 [F, H, W, 3]. `size`: longest side of a frame in px at most."""
    step = ceil(len(frames) / MAX_FRAMES)
    shown = frames[::step]
    count, height, width, _ = shown.shape
    scale = min(1.0, size / max(height, width), sqrt(MAX_PIXELS / (count * height * width)))
    height, width = max(1, int(height * scale)), max(1, int(width * scale))
    columns = min(count, max(1, round(sqrt(count * height / width))), max(1, MAX_SIDE // width))
    rows = ceil(count / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for index, frame in enumerate(shown):
        row, column = divmod(index, columns)
        sheet.paste(_resized(frame, width, height), (column * width, row * height))
    largest = min(1.0, POSTER_SIZE / max(height, width))
    poster = _resized(shown[0], max(1, round(width * largest)), max(1, round(height * largest)))
    return Preview(_webp(poster, POSTER_QUALITY), _webp(sheet, SHEET_QUALITY), columns, width, height, count, step)


def _resized(frame: Frames, width: int, height: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def _webp(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()
