"""One clip to one or several files: which format, under which name, never over something that is there."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from animdiff_cli.core.choices import Format
from animdiff_cli.core.timing import check_fps
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import claim, hidden_sibling, replace
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.outputs.frames import require_replaceable, write_frames
from animdiff_cli.outputs.gif import write_gif
from animdiff_cli.outputs.image import write_apng, write_webp
from animdiff_cli.outputs.provenance import recipe_text
from animdiff_cli.outputs.video import write_mp4, write_webm

#: format → what writes `[F, H, W, 3]`, frames per second, a path and the recipe's text
WRITERS: dict[Format, Callable[[Frames, float, Path, str], None]] = {
    "gif": write_gif,
    "mp4": write_mp4,
    "webm": write_webm,
    "webp": write_webp,
    "apng": write_apng,
    "frames": write_frames,
}
#: suffix → format. Of two for one format the first is what we write: every viewer opens an APNG that is called `.png`.
SUFFIXES: dict[str, Format] = {
    ".gif": "gif",
    ".mp4": "mp4",
    ".webm": "webm",
    ".webp": "webp",
    ".png": "apng",
    ".apng": "apng",
    "": "frames",
}


def write_clip(
    frames: Frames, fps: float, path: Path, format: Format, recipe: Mapping[str, Any], *, overwrite: bool = False
) -> Path:
    """Write `frames`, uint8 `[F, H, W, 3]`, and return where they are; folders on the way are made.

    A file that exists is complete. Without `overwrite` a taken name gets `-2`, `-3` …, also when another program takes
    it while this one encodes. Raises `UsageError` for a rate the format cannot keep or a place that cannot be written,
    `EncodeError` when ffmpeg fails, `ValueError` for an array that is not a clip.
    """
    _require_clip(frames)
    check_fps(fps, format)
    with readable_output_failures(path):
        if overwrite:
            _require_replaceable(path, format)
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden_sibling(path) as hidden:
            WRITERS[format](frames, fps, hidden, recipe_text(recipe))
            return _publish(hidden, path, overwrite)


def write_all(
    frames: Frames,
    fps: float,
    stem: Path,
    formats: Sequence[Format],
    recipe: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write one clip in several formats as `stem.gif`, `stem.mp4` …, the frames folder as `stem`. See `write_clip`."""
    for format in formats:
        check_fps(fps, format)
    paths = output_paths(stem, formats, overwrite=overwrite)
    return [write_clip(frames, fps, path, format, recipe, overwrite=overwrite) for format, path in paths.items()]


def output_paths(stem: Path, formats: Iterable[Format], *, overwrite: bool = False) -> dict[Format, Path]:
    """Where `write_all` would write: files of one render share one number, so `fox-2.gif` goes with `fox-2.mp4`."""
    paths = {format: stem.with_name(stem.name + suffix_of(format)) for format in formats}
    return dict(zip(paths, _free(list(paths.values()), overwrite), strict=True))


def free_path(path: Path, overwrite: bool = False) -> Path:
    """`path`, or with `-2`, `-3` … before its suffix where that name is taken."""
    return _free([path], overwrite)[0]


def suffix_of(format: Format) -> str:
    """The suffix that a format is written with; empty for a folder of frames."""
    return next(suffix for suffix, written in SUFFIXES.items() if written == format)


def format_of(path: Path) -> Format:
    """The format that a path asks for by its suffix; no suffix means a folder of frames. Raises `UsageError`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise UsageError(f"`{path.name}`: no format ends in `{suffix}`", hint=f"use one of {known}")
    return SUFFIXES[suffix]


def check_output(path: Path, format: Format, fps: float, *, overwrite: bool = False) -> None:
    """Refuse before the render what `write_clip` would refuse after it. Makes nothing. Raises `UsageError`."""
    check_fps(fps, format)
    if overwrite:
        _require_replaceable(path, format)
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is a file, not a folder", hint="choose another place with `--output`")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"no permission to write in `{folder}`", hint="choose another place with `--output`")


def _require_replaceable(path: Path, format: Format) -> None:
    if format == "frames" and path.is_dir():
        require_replaceable(path)
    elif path.is_dir() or (format == "frames" and path.exists()):
        there = "a folder" if path.is_dir() else "a file"
        raise UsageError(f"`{path}` is {there}, so it is not replaced", hint="choose another name with `--output`")


def _publish(hidden: Path, path: Path, overwrite: bool) -> Path:
    if overwrite:
        replace(hidden, path)
        return path
    while True:
        target = free_path(path)
        try:
            claim(hidden, target)
        except FileExistsError:
            continue
        return target


def _free(paths: Sequence[Path], overwrite: bool) -> list[Path]:
    if overwrite:
        return list(paths)
    for number in count(1):
        candidates = [_numbered(path, number) for path in paths]
        if not any(os.path.lexists(candidate) for candidate in candidates):
            return candidates
    raise AssertionError("numbers do not end")


def _numbered(path: Path, number: int) -> Path:
    if number == 1:
        return path
    # the `.5` of a folder called `fox-v1.5` is no suffix
    suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
    return path.with_name(f"{path.name.removesuffix(suffix)}-{number}{suffix}")


def _require_clip(frames: Frames) -> None:
    if frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8, got {frames.dtype}")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be [F, H, W, 3] with at least one frame and pixel, got {list(frames.shape)}")
