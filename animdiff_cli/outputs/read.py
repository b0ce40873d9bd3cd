"""Read clips and images from files: every format this program writes, and other videos that ffmpeg decodes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import ImageSequence

from animdiff_cli.core.formats import ANIMATION_SUFFIXES, FILE_FORMATS, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from animdiff_cli.core.naming import natural_key
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.outputs.ffmpeg import DecodeError, Frames, safe_input, stream_output
from animdiff_cli.outputs.open_image import flatten, frame_count, open_image

#: a clip is held in memory, twice while it is read; this is 680 frames of 512 by 512 pixels
MAX_BYTES = 512 << 20
#: a few bytes of a file can repeat a small frame for days
MAX_FRAMES = 1 << 14

_HINT = f"give a {FILE_FORMATS} file, or a folder of frames"
_STREAM = re.compile(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """Decoded frames, uint8 [F, H, W, 3], and their rate in frames per second; None if the file stores no rate."""

    frames: Frames
    fps: float | None = None


def read_clip(path: Path) -> DecodedClip:
    """Read a clip at a constant frame rate. A frame shown k times as long as the shortest one is repeated k times.

    This restores equal frames that GIF and WebP encoders merge into one longer frame.
    Raises `NotFound` if the path does not exist, `UsageError` if it is not a clip, is damaged, or is too large.
    """
    if path.is_dir():
        return DecodedClip(read_images(path))
    if not path.is_file():
        raise NotFound(f"no clip `{path}`", hint="check the path, or give a folder of clips")
    return _reader(path)(path)


def read_images(path: Path) -> Frames:
    """Read an image, or the images of a folder in the order of their names: uint8 [N, H, W, 3].

    Raises `UsageError` if there are none, if their sizes differ, or if one is damaged.
    """
    files = list_images(path) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"`{path}` contains no images", hint=_HINT)
    images: list[Frames] = []
    for file in files:
        image = read_image(file)
        if images and image.shape != images[0].shape:
            raise UsageError(
                f"`{file}` is {_size(image)} pixels, `{files[0].name}` {_size(images[0])}",
                hint="the frames of a clip must have the same size",
            )
        _check_length(len(files), _max_frames(image.shape[1], image.shape[0]), path)
        images.append(image)
    return np.stack(images)


def read_image(path: Path) -> Frames:
    """Read one image, or the first frame of an animation: uint8 [H, W, 3]. Raises `UsageError`, `NotFound`."""
    if not path.is_file():
        raise NotFound(f"no image `{path}`", hint="check the path")
    try:
        with open_image(path) as image:
            return np.asarray(flatten(image))
    except DecodeError as error:
        raise UsageError(f"cannot read the image `{path}`: {error}", hint="give PNG, JPEG or WebP images") from error


def list_images(folder: Path) -> list[Path]:
    """List the images in a folder by name, numbers by value, without hidden files."""
    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    return sorted(filter(Path.is_file, images), key=lambda path: natural_key(path.name))


def is_animation(path: Path) -> bool:
    """Return True if a file is an image of more than one frame; False for other or damaged files."""
    try:
        with open_image(path) as image:
            return frame_count(image) > 1
    except DecodeError:
        return False


def _reader(path: Path) -> Callable[[Path], DecodedClip]:
    suffix = path.suffix.lower()
    if suffix in ANIMATION_SUFFIXES:
        return _read_animation
    if suffix in VIDEO_SUFFIXES:
        return _read_video
    raise UsageError(f"`{path}` is not a clip: unsupported suffix `{suffix or path.name}`", hint=_HINT)


def _read_animation(path: Path) -> DecodedClip:
    images: list[Frames] = []
    durations: list[float] = []
    try:
        with open_image(path) as opened:
            _check_length(frame_count(opened), _max_frames(*opened.size), path)
            for image in ImageSequence.Iterator(opened):
                # frames of a GIF may exceed its canvas, which then grows
                _check_length(len(images) + 1, _max_frames(*image.size), path)
                images.append(np.asarray(flatten(image)))
                durations.append(float(image.info.get("duration") or 0))
                if images[-1].shape != images[0].shape:
                    raise DecodeError("its frames differ in size")
    except DecodeError as error:
        raise _unreadable(path, error) from error
    if len(images) < 2 or min(durations) <= 0:
        return DecodedClip(np.stack(images))
    repeats = [max(1, round(duration / min(durations))) for duration in durations]
    height, width = images[0].shape[:2]
    _check_length(sum(repeats), _max_frames(width, height), path)
    frames = np.stack([image for image, count in zip(images, repeats, strict=True) for _ in range(count)])
    return DecodedClip(frames, 1000 * len(frames) / sum(durations))


def _read_video(path: Path) -> DecodedClip:
    head, raw = bytearray(), bytearray()
    try:
        source = safe_input(path)
        one_frame = ["-map", "0:v:0", "-frames:v", "1", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe"]
        stream_output([*source, *one_frame], 200, head.extend, partial=True)
        header = _STREAM.match(head[:200])
        if header is None:
            raise DecodeError("it has no video frames")
        width, height, *rate = (int(number) for number in header.groups())
        max_frames = _max_frames(width, height)
        frame_bytes = width * height * 3

        def add_frame(frame: bytes) -> None:
            raw.extend(frame)
            _check_length(len(raw) // frame_bytes, max_frames, path)

        scale = ["-map", "0:v:0", "-vf", "scale=flags=accurate_rnd+full_chroma_int"]
        stream_output([*source, *scale, "-f", "rawvideo", "-pix_fmt", "rgb24"], frame_bytes, add_frame)
    except DecodeError as error:
        raise _unreadable(path, error) from error
    if not raw:
        raise _unreadable(path, DecodeError("it has no video frames"))
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    return DecodedClip(frames, float(Fraction(*rate)) if all(rate) else None)


def _max_frames(width: int, height: int) -> int:
    return min(MAX_FRAMES, MAX_BYTES // max(1, width * height * 3))


def _check_length(num_frames: int, max_frames: int, path: Path) -> None:
    if num_frames > max_frames:
        raise UsageError(
            f"`{path}` is too long: at most {max_frames} frames of its size fit into memory",
            hint="shorten the clip, or reduce its size",
        )


def _unreadable(path: Path, error: DecodeError) -> UsageError:
    return UsageError(f"cannot read the clip `{path}`: {error}", hint=_HINT)


def _size(image: Frames) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
