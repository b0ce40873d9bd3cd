"""Read still images and folders of frames with Pillow, upright and opaque."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from animdiff_cli.outputs.ffmpeg import DecodeError, Frames
from animdiff_cli.training.data.media import Media, Timeline
from animdiff_cli.training.data.scene_detection import HEIGHT, WIDTH, FrameChanges, find_cuts

#: default frame rate of a folder of frames
FRAMES_PER_SECOND = 8.0

#: exceptions that damaged files cause in Pillow
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)


def probe(media: Media, fps: float | None = None) -> Timeline:
    """Open a still, or every picture of a folder; return size, frame times and cuts. Raises `DecodeError`."""
    if media.kind == "still":
        width, height = _open(media, 0).size
        return Timeline(width, height, (0.0,))
    changes = FrameChanges()
    sizes = set()
    for index, name in enumerate(media.frames):
        picture = _open(media, index)
        sizes.add(picture.size)
        if len(sizes) > 1:
            raise DecodeError(f"its pictures differ in size: `{name}` is {picture.width}×{picture.height}")
        changes.add(np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)))
    width, height = sizes.pop()
    times = tuple(index / (fps or FRAMES_PER_SECOND) for index in range(len(media.frames)))
    return Timeline(width, height, times, find_cuts(changes.levels, changes.colors))


def read_frames(media: Media, frames: Sequence[int], size: tuple[int, int]) -> Frames:
    """Read the numbered frames at `size` (width, height): uint8 `[F, H, W, 3]`. Raises `DecodeError`."""
    opened = {index: _resize(_open(media, index), size) for index in sorted(set(frames))}
    return np.stack([opened[index] for index in frames])


def _resize(picture: Image.Image, size: tuple[int, int]) -> Frames:
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def _open(media: Media, index: int) -> Image.Image:
    try:
        path = media.path / media.frames[index] if media.kind == "frames" else media.path
        with path.open("rb") as file:
            start, end = media.span or (0, -1)
            file.seek(start)
            with Image.open(io.BytesIO(file.read(end - start if media.span else -1))) as picture:
                return _opaque(ImageOps.exif_transpose(picture))
    except _DAMAGE as error:
        where = f"`{media.frames[index]}` " if media.kind == "frames" else ""
        raise DecodeError(f"{where}cannot be opened: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return "not a picture, or damaged" if isinstance(error, UnidentifiedImageError) else str(error).lower()


def _opaque(picture: Image.Image) -> Image.Image:
    """Convert to RGB, compositing transparency over white: the color of transparent pixels is arbitrary."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    background = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(background, layer).convert("RGB")
