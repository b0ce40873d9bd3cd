"""Read clips and images from files: every format this program writes, and other videos that ffmpeg decodes."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from animdiff_cli.core.formats import ANIMATION_SUFFIXES, FILE_FORMATS, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.outputs.ffmpeg import EncodeError, Frames, read_file

#: a clip is held in memory; this is 2,700 frames of 512 by 512 pixels
MAX_BYTES = 2 << 30

_HINT = f"give a {FILE_FORMATS} file, or a folder of frames"
_STREAM = re.compile(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)")
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)


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
    images = [read_image(file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UsageError(
                f"`{file}` is {_size(image)} pixels, `{files[0].name}` {_size(images[0])}",
                hint="the frames of a clip must have the same size",
            )
    return np.stack(images)


def read_image(path: Path) -> Frames:
    """Read one image, or the first frame of an animation: uint8 [H, W, 3]. Raises `UsageError`, `NotFound`."""
    if not path.is_file():
        raise NotFound(f"no image `{path}`", hint="check the path")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except _PILLOW_ERRORS as error:
        raise UsageError(f"`{path}` is not an image, or damaged", hint="give PNG, JPEG or WebP images") from error


def list_images(folder: Path) -> list[Path]:
    """List the images in a folder by name, without hidden files."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and path.is_file()
    )


def is_animation(path: Path) -> bool:
    """Return True if a file is an image of more than one frame; False for other or damaged files."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except _PILLOW_ERRORS:
        return False


def _reader(path: Path) -> Callable[[Path], DecodedClip]:
    suffix = path.suffix.lower()
    if suffix in ANIMATION_SUFFIXES:
        return _read_animation
    if suffix in VIDEO_SUFFIXES:
        return _read_video
    raise UsageError(f"`{path}` is not a clip: unsupported suffix `{suffix or path.name}`", hint=_HINT)


def _read_animation(path: Path) -> DecodedClip:
    images, durations = [], []
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
            max_frames = MAX_BYTES // max(1, opened.width * opened.height * 3)
            for image in ImageSequence.Iterator(opened):
                images.append(np.asarray(image.convert("RGB")))
                durations.append(float(image.info.get("duration") or 0))
                _check_length(len(images), max_frames, path)
    except _PILLOW_ERRORS as error:
        raise _damaged(path) from error
    if len(images) < 2 or min(durations) <= 0:
        return DecodedClip(np.stack(images))
    repeats = [max(1, round(duration / min(durations))) for duration in durations]
    _check_length(sum(repeats), max_frames, path)
    frames = np.repeat(np.stack(images), repeats, axis=0)
    return DecodedClip(frames, 1000 * len(frames) / sum(durations))


def _read_video(path: Path) -> DecodedClip:
    try:
        header = _STREAM.match(read_file(path, ["-frames:v", "1", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe"])[:200])
        if header is None:
            raise _damaged(path)
        width, height, *rate = (int(number) for number in header.groups())
        max_frames = MAX_BYTES // (width * height * 3)
        # read one frame more than allowed, to detect a clip that is too long
        limit = ["-frames:v", str(max_frames + 1), "-vf", "scale=flags=accurate_rnd+full_chroma_int"]
        raw = read_file(path, [*limit, "-f", "rawvideo", "-pix_fmt", "rgb24"])
    except EncodeError as error:
        raise _damaged(path) from error
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    _check_length(len(frames), max_frames, path)
    return DecodedClip(frames, float(Fraction(*rate)))


def _check_length(num_frames: int, max_frames: int, path: Path) -> None:
    if num_frames > max_frames:
        raise UsageError(
            f"`{path}` is too long: at most {max_frames} frames of its size fit into memory",
            hint="shorten the clip, or reduce its size",
        )


def _damaged(path: Path) -> UsageError:
    return UsageError(f"`{path}` is not a clip, or damaged", hint=_HINT)


def _size(image: Frames) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
