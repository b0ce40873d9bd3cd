"""Write a clip to one or more files: choose names, encode, never replace an existing file unless asked to."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from animdiff_cli.core.formats import BY_SUFFIX, FORMATS, Format
from animdiff_cli.core.timing import check_fps
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import claim, hidden_sibling, replace
from animdiff_cli.files.os_errors import check_output_path, readable_output_failures
from animdiff_cli.outputs.audio import AudioTrack
from animdiff_cli.outputs.frames import require_only_frames, write_frames
from animdiff_cli.outputs.gif import write_gif
from animdiff_cli.outputs.image import write_apng, write_webp
from animdiff_cli.outputs.provenance import recipe_text
from animdiff_cli.outputs.spool import FrameSequence
from animdiff_cli.outputs.video import write_mp4, write_webm
from animdiff_cli.storage.location import Location, RemotePath
from animdiff_cli.storage.outputs import check_remote_output

L = TypeVar("L", bound=Location)
#: (frames `[F, H, W, 3]`, frames per second, path, recipe as text)
Writer = Callable[[FrameSequence, float, Path, str], None]

#: the writer of each row of `core.formats.FORMATS`
WRITERS: Mapping[Format, Writer] = {
    "gif": write_gif,
    "mp4": write_mp4,
    "webm": write_webm,
    "webp": write_webp,
    "apng": write_apng,
    "frames": write_frames,
}


#: writers that take audio as well
WITH_AUDIO: Mapping[Format, Callable[..., None]] = {"mp4": write_mp4, "webm": write_webm}


def write_clip(
    frames: FrameSequence,
    fps: float,
    path: Path,
    format: Format,
    recipe: Mapping[str, Any],
    *,
    overwrite: bool = False,
    audio: AudioTrack | None = None,
) -> Path:
    """Write `frames`, uint8 `[F, H, W, 3]` or a spool of them, and return the path written. Creates missing folders.

    `audio` is for MP4 and WebM; other formats have none. Writes are atomic. Without `overwrite`, a suffix `-2`, `-3` …
    is added if the name is taken, also if another program takes it during encoding. Raises `UsageError` if the format
    does not support `fps` or the path is not writable, `EncodeError` if ffmpeg fails, `ValueError` if the array is not
    a clip.
    """
    _require_clip(frames)
    check_fps(fps, format)
    has_audio = audio and format in WITH_AUDIO
    writer = partial(WITH_AUDIO[format], audio=audio) if has_audio else WRITERS[format]
    return write_output(
        path, format, lambda hidden: writer(frames, fps, hidden, recipe_text(recipe)), overwrite=overwrite
    )


def write_output(path: Path, format: Format, write: Callable[[Path], None], *, overwrite: bool = False) -> Path:
    """Let `write` create a file or folder under a hidden name, rename it as `write_clip` does, and return its path."""
    with readable_output_failures(path):
        if overwrite:
            require_replaceable(path, format)
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden_sibling(path) as hidden:
            write(hidden)
            return _publish(hidden, path, overwrite)


def write_all(
    frames: FrameSequence,
    fps: float,
    stem: Path,
    formats: Sequence[Format],
    recipe: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write one clip in several formats: `stem.gif`, `stem.mp4` …, and `stem` for a frames folder. See `write_clip`."""
    for format in formats:
        check_fps(fps, format)
    paths = output_paths(stem, formats, overwrite=overwrite)
    return [write_clip(frames, fps, path, format, recipe, overwrite=overwrite) for format, path in paths.items()]


def output_paths(stem: L, formats: Iterable[Format], *, overwrite: bool = False) -> dict[Format, L]:
    """Return the paths that `write_all` writes to. Files of one clip share a number: `fox-2.gif` and `fox-2.mp4`."""
    paths = {format: cast("L", stem.with_name(stem.name + FORMATS[format].suffix)) for format in formats}
    return dict(zip(paths, _free(list(paths.values()), overwrite), strict=True))


def free_path(path: L, overwrite: bool = False) -> L:
    """Return `path`, with `-2`, `-3` … before its suffix if that name is taken."""
    return _free([path], overwrite)[0]


def check_output(path: Location, format: Format, fps: float, *, overwrite: bool = False) -> None:
    """Run the checks of `write_clip` before rendering. Creates no files. Raises `UsageError`."""
    check_fps(fps, format)
    if overwrite:
        require_replaceable(path, format)
    if isinstance(path, RemotePath):
        check_remote_output(path)
    else:
        check_output_path(path)


def is_taken(path: Location) -> bool:
    """True if there is something under this name, also a symlink to nothing."""
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)


def require_replaceable(path: Location, format: Format) -> None:
    """Raise `UsageError` if a file would replace a folder or a folder a file, or if other files would be deleted."""
    is_folder = FORMATS[format].is_folder
    if is_folder and path.is_dir():
        require_only_frames(path)
    elif path.is_dir() or (is_folder and path.exists()):
        existing = "a folder" if path.is_dir() else "a file"
        raise UsageError(f"`{path}` is {existing}, so it is not replaced", hint="choose another name with `--output`")


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


def numbered(paths: Sequence[L]) -> Iterator[list[L]]:
    """Yield the paths themselves, then with `-2`, `-3` … before the suffix, without end."""
    for number in count(1):
        yield [_numbered(path, number) for path in paths]


def _free(paths: Sequence[L], overwrite: bool) -> list[L]:
    if overwrite:
        return list(paths)
    for candidates in numbered(paths):
        if not any(map(is_taken, candidates)):
            return candidates
    raise AssertionError("unreachable: count() is infinite")


def _numbered(path: L, number: int) -> L:
    if number == 1:
        return path
    # the `.5` of a folder called `fox-v1.5` is not a suffix
    suffix = path.suffix if path.suffix.lower() in BY_SUFFIX else ""
    return cast("L", path.with_name(f"{path.name.removesuffix(suffix)}-{number}{suffix}"))


def _require_clip(frames: FrameSequence) -> None:
    if isinstance(frames, np.ndarray) and frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8, got {frames.dtype}")
    if len(frames.shape) != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be [F, H, W, 3] with at least one frame and pixel, got {list(frames.shape)}")
