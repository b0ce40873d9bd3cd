"""Read still images, animations and folders of frames with Pillow, upright and opaque."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from animdiff_cli.outputs.ffmpeg import DecodeError, Frames
from animdiff_cli.outputs.open_image import MAX_FILE_BYTES, flatten, is_transparent, open_image
from animdiff_cli.training.data.media import Media, Timeline
from animdiff_cli.training.data.scene_detection import HEIGHT, WIDTH, FrameChanges, find_cuts

#: default frame rate of a folder of frames
FRAMES_PER_SECOND = 8.0
#: seconds; how long browsers show a frame of an animation without a duration
DEFAULT_DURATION = 0.1


def probe(media: Media, fps: float | None = None) -> Timeline:
    """Open a still, or every picture of an animation or folder; return size, frame times and cuts.

    `fps` is the frame rate of a folder. Raises `DecodeError`.
    """
    changes, times, time = FrameChanges(), [], 0.0
    size, transparent = None, False
    for index, picture in enumerate(_pictures(media)):
        if size not in (None, picture.image.size):
            name = f"`{media.frames[index]}`" if media.frames else f"number {index + 1}"
            raise DecodeError(f"its pictures differ in size: {name} is {picture.image.width}×{picture.image.height}")
        size, transparent = picture.image.size, transparent or picture.transparent
        if media.kind != "still":
            changes.add(np.asarray(picture.image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)))
        times.append(index / (fps or FRAMES_PER_SECOND) if picture.duration is None else time)
        time += picture.duration or 0.0
    if size is None:
        raise DecodeError("it has no pictures")
    return Timeline(*size, tuple(times), find_cuts(changes.levels, changes.colors), transparent)


def read_frames(media: Media, frames: Sequence[int], size: tuple[int, int]) -> Frames:
    """Read the numbered frames at `size` (width, height): uint8 `[F, H, W, 3]`. Raises `DecodeError`."""
    wanted = sorted(set(frames))
    opened = {
        index: np.asarray(picture.image.resize(size, Image.Resampling.BICUBIC))
        for index, picture in zip(wanted, _pictures(media, wanted), strict=True)
    }
    return np.stack([opened[index] for index in frames])


class _Picture(NamedTuple):
    image: Image.Image  # upright and opaque
    transparent: bool  # before it was composited over white
    duration: float | None = None  # in seconds, if the file stores one


def _pictures(media: Media, wanted: Sequence[int] | None = None) -> Iterator[_Picture]:
    """Decode the wanted pictures of a still, animation or folder, by default all."""
    if media.kind == "animation":
        yield from _animation(media, wanted)
        return
    for index in range(len(media.frames) or 1) if wanted is None else wanted:
        with _open(media, media.frames[index] if media.kind == "frames" else None) as image:
            picture = _Picture(flatten(ImageOps.exif_transpose(image)), is_transparent(image))
        yield picture


def _animation(media: Media, wanted: Sequence[int] | None) -> Iterator[_Picture]:
    with _open(media) as animation:
        for index, image in enumerate(ImageSequence.Iterator(animation)):
            if wanted is None or index in wanted:
                duration = float(image.info.get("duration") or 0) / 1000
                yield _Picture(flatten(image), is_transparent(image), duration if duration > 0 else DEFAULT_DURATION)
            if wanted is not None and index >= wanted[-1]:
                return
    if wanted is not None:
        raise DecodeError("its frames have changed")


@contextmanager
def _open(media: Media, name: str | None = None) -> Iterator[Image.Image]:
    try:
        if media.span is None:
            with open_image(media.path / name if name else media.path) as picture:
                yield picture
            return
        start, end = media.span
        if end - start > MAX_FILE_BYTES:
            raise DecodeError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        with media.path.open("rb") as archive:
            archive.seek(start)
            content = archive.read(end - start)
        with open_image(io.BytesIO(content)) as picture:
            yield picture
    except DecodeError as error:
        raise DecodeError(f"{f'`{name}` ' if name else ''}cannot be opened: {error}") from error
