"""Clips read back from files: every format this program writes, and the videos ffmpeg knows."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.outputs.ffmpeg import EncodeError, Frames, probe

#: a clip is held in memory whole; 2,700 frames of 512 by 512 pixels
MAX_BYTES = 2 << 30
ANIMATED = (".gif", ".webp", ".png", ".apng")
VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v")
STILLS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

_ACCEPTED = "give a gif, mp4, webm, webp, apng, or a folder of frames"
_STREAM = re.compile(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)")
_PILLOW_FAILURES = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip as it is seen: `frames` uint8 [F, H, W, 3], at `fps` frames per second where the file says so."""

    frames: Frames
    fps: float | None = None


def read_clip(path: Path) -> Footage:
    """Read a clip at a steady rate: a picture that is shown k times as long as the briefest one comes k times.

    GIF and WebP writers fold equal neighbours into one longer picture; this unfolds them.
    Raises `NotFound` for what is not there, `UsageError` for what is no clip, is damaged, or does not fit in memory.
    """
    if path.is_dir():
        return Footage(read_stills(path))
    if not path.is_file():
        raise NotFound(f"no clip `{path}`", hint="check the path, or give a folder of clips")
    return _reader(path)(path)


def read_stills(path: Path) -> Frames:
    """Read pictures of one size, a file or a folder of them in the order of their names: uint8 [N, H, W, 3].

    Raises `UsageError` when there are none, when their sizes differ, or when one is damaged.
    """
    files = still_files(path) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"`{path}` holds no pictures", hint=_ACCEPTED)
    pictures = [read_still(file) for file in files]
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise UsageError(
                f"`{file}` is {_size(picture)} pixels, `{files[0].name}` {_size(pictures[0])}",
                hint="the frames of a clip share one size",
            )
    return np.stack(pictures)


def read_still(path: Path) -> Frames:
    """Read one picture, of an animation the first: uint8 [H, W, 3]. Raises `UsageError`, `NotFound`."""
    if not path.is_file():
        raise NotFound(f"no picture `{path}`", hint="check the path")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except _PILLOW_FAILURES as error:
        raise UsageError(f"`{path}` is no picture, or damaged", hint="give PNG, JPEG or WebP pictures") from error


def still_files(folder: Path) -> list[Path]:
    """List the pictures in a folder by name, hidden ones left out."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in STILLS and path.name[0] != "." and path.is_file()
    )


def is_animation(path: Path) -> bool:
    """True for a picture file of more than one frame; False for anything else, damaged files too."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except _PILLOW_FAILURES:
        return False


def _reader(path: Path) -> Callable[[Path], Footage]:
    suffix = path.suffix.lower()
    if suffix in ANIMATED:
        return _read_animation
    if suffix in VIDEOS:
        return _read_video
    raise UsageError(f"`{path}` is no clip: nothing here reads `{suffix or path.name}`", hint=_ACCEPTED)


def _read_animation(path: Path) -> Footage:
    pictures, lasting = [], []
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
            room = MAX_BYTES // max(1, opened.width * opened.height * 3)
            for picture in ImageSequence.Iterator(opened):
                pictures.append(np.asarray(picture.convert("RGB")))
                lasting.append(float(picture.info.get("duration") or 0))
                _check_room(len(pictures), room, path)
    except _PILLOW_FAILURES as error:
        raise _damaged(path) from error
    if len(pictures) < 2 or min(lasting) <= 0:
        return Footage(np.stack(pictures))
    times = [max(1, round(duration / min(lasting))) for duration in lasting]
    _check_room(sum(times), room, path)
    frames = np.repeat(np.stack(pictures), times, axis=0)
    return Footage(frames, 1000 * len(frames) / sum(lasting))


def _read_video(path: Path) -> Footage:
    try:
        header = _STREAM.match(probe(path, ["-frames:v", "1", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe"])[:200])
        if header is None:
            raise _damaged(path)
        width, height, *rate = (int(number) for number in header.groups())
        room = MAX_BYTES // (width * height * 3)
        # one frame too many shows that there are too many
        limit = ["-frames:v", str(room + 1), "-vf", "scale=flags=accurate_rnd+full_chroma_int"]
        raw = probe(path, [*limit, "-f", "rawvideo", "-pix_fmt", "rgb24"])
    except EncodeError as error:
        raise _damaged(path) from error
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    _check_room(len(frames), room, path)
    return Footage(frames, float(Fraction(*rate)))


def _check_room(num_frames: int, room: int, path: Path) -> None:
    if num_frames > room:
        raise UsageError(
            f"`{path}` is too long: {room} frames of its size fit in memory", hint="cut it, or make it smaller"
        )


def _damaged(path: Path) -> UsageError:
    return UsageError(f"`{path}` is no clip, or damaged", hint=_ACCEPTED)


def _size(picture: Frames) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
