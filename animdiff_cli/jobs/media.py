"""Read a picture, a video or a folder of frames at the frame rate and size of a clip."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from animdiff_cli.config.input_settings import InputEntry, VideoEntry
from animdiff_cli.core.choices import Fit
from animdiff_cli.core.text import counted
from animdiff_cli.core.where import Timeline as ClipTimeline
from animdiff_cli.core.where import Where, frames_at, parse_range
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.hashing import FileState, file_state, sha256_of
from animdiff_cli.outputs.ffmpeg import DecodeError, Frames
from animdiff_cli.outputs.read import list_images
from animdiff_cli.outputs.spool import FrameSpool
from animdiff_cli.storage.inputs import local_input
from animdiff_cli.training.data import decode, pictures
from animdiff_cli.training.data.media import Media, Timeline, kind_of, picture_kind, why_unread
from animdiff_cli.training.data.probe import probe

#: frames that are decoded at once
CHUNK = 16
#: changes a chunk of frames uint8 [F, H, W, 3] of the size of the clip; chunks come in order
Transform = Callable[[Frames], Frames]
#: for hints: what to type to set a field of an entry to a value
HowToSet = Callable[[str, object], str]


@dataclass(frozen=True, slots=True)
class OpenInput:
    """A source that was opened: what it is, and the time of each of its frames."""

    path: Path
    media: Media
    timeline: Timeline
    state: tuple[tuple[str, FileState], ...]  # name and state of its files

    @property
    def has_rate(self) -> bool:
        """False for pictures without times of their own: one, or a folder of them."""
        return self.media.kind in ("video", "animation") and len(self.timeline.times) > 1


def open_input(source: str, flag: str) -> OpenInput:
    """Open a source without reading its pixels at full size; a video is decoded once, and the result is cached.

    Raises `NotFound` if there is none, `UsageError` if it is neither a picture nor a video, or is damaged.
    """
    path = local_input(source)
    if not path.exists():
        raise NotFound(f"no picture or video `{path}`", hint=f"check the path after `{flag}`")
    try:
        files = list_images(path) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"`{path}` contains no pictures", hint="give a video, a picture or a folder of pictures")
        return _open(path, tuple((file.name, file_state(file)) for file in files))
    except DecodeError as error:
        raise UsageError(
            f"cannot read `{path}`: {error}", hint="give a video, a picture, or a folder of pictures of one size"
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read `{path}`: {reason}", hint="check its permissions: `ls -l`") from error


def read_for_clip(
    opened: OpenInput,
    entry: InputEntry,
    timeline: ClipTimeline,
    size: tuple[int, int],
    transform: Transform = lambda frames: frames,
) -> ClipPictures:
    """Read the pictures of a clip at `size` (width, height), fitted and transformed; they are kept on disk.

    The padding of `fit: pad` is added after `transform`. Raises `UsageError` as `place_frames` does, or if the source
    has changed.
    """
    numbers = place_frames(opened, entry, timeline)
    distinct = sorted({number for number in numbers if number is not None})
    order = {number: index for index, number in enumerate(distinct)}
    try:
        spool = FrameSpool(_chunks(opened, distinct, size, entry.fit, transform))
    except DecodeError as error:
        raise UsageError(f"cannot read `{opened.path}`: {error}", hint="check the file") from error
    return ClipPictures(spool, tuple(None if number is None else order[number] for number in numbers))


@lru_cache(maxsize=32)
def small_frame(opened: OpenInput, number: int, side: int) -> Frames:
    """Return a frame of the source at `side` by `side` pixels, uint8 [side, side, 3]; it is decoded once."""
    (chunk,) = _chunks(opened, [number], (side, side), "stretch", lambda frames: frames)
    frame: Frames = chunk[0]
    return frame


def num_cropped(opened: OpenInput, entry: InputEntry, size: tuple[int, int]) -> int:
    """Return how many pixels of a source of another shape fitting to `size` cuts off one side of the frame."""
    decoded = _decoded_size(opened.timeline, size, entry.fit)
    return max(have - want for have, want in zip(decoded, size, strict=True))


def timeline_of(entry: InputEntry, timeline: ClipTimeline) -> ClipTimeline:
    """Return the timeline at which an input is read: a video may be read at another rate than the clip plays."""
    fps = entry.fps if isinstance(entry, VideoEntry) else None
    return replace(timeline, fps=fps) if fps else timeline


def _as_in_a_record(field: str, value: object) -> str:
    return f"{field}: {value}"


def place_frames(
    opened: OpenInput, entry: InputEntry, timeline: ClipTimeline, how_to_set: HowToSet = _as_in_a_record
) -> tuple[int | None, ...]:
    """Return the frame of the source for each new frame of the clip; None where `entry.frames` leaves it out.

    A video plays at its own speed. Frame n of a folder is frame n of the clip, or is for the nth of `entry.frames`.
    Raises `UsageError` for positions outside of the clip or the source, or if the source ends before the clip.
    """
    section = section_of(opened, entry)
    wanted = _wanted(entry, timeline)
    if entry.frames and not opened.has_rate and len(section) not in (1, len(wanted)):
        raise UsageError(
            f"`{opened.path}` has {len(section)} pictures, and `frames` names {counted(len(wanted), 'frame')}",
            hint=f"name a frame of the clip for each picture, as in `{how_to_set('frames', '0,50%,-1')}`",
        )
    late = num_late(opened, entry, timeline)
    length = _length(opened, section)
    if late and entry.after_end == "refuse":
        end = f"{length:.3g} s" if opened.has_rate else counted(int(length), "frame")
        raise UsageError(
            f"`{opened.path}` ends before the clip, after {end}",
            hint=f"render fewer frames, or hold its last one: `{how_to_set('after_end', 'hold')}`",
        )
    numbers: list[int | None] = [None] * timeline.num_frames
    for frame, place in zip(wanted, _places(opened, section, wanted, timeline.fps), strict=True):
        is_late = place >= length - _SAME_TIME
        if is_late and entry.after_end == "hold":
            numbers[frame] = section[-1]
        else:
            within = max((place + _SAME_TIME) % length - _SAME_TIME, 0.0) if is_late else place
            numbers[frame] = _frame_at(opened, section, within)
    return tuple(numbers)


def num_late(opened: OpenInput, entry: InputEntry, timeline: ClipTimeline) -> int:
    """Return how many frames of the clip come after the end of the source."""
    section, wanted = section_of(opened, entry), _wanted(entry, timeline)
    length = _length(opened, section)
    return sum(place >= length - _SAME_TIME for place in _places(opened, section, wanted, timeline.fps))


#: seconds; times in containers are rounded
_SAME_TIME = 2e-3


def section_of(opened: OpenInput, entry: InputEntry) -> range:
    """Return the frames of the source that `entry.section` names. Raises `UsageError`."""
    count = len(opened.timeline.times)
    if entry.section is None:
        return range(count)
    first, last = parse_range(entry.section)
    try:
        start, end = _frame_of(opened, first), count - 1 if last is None else _frame_of(opened, last)
    except UsageError as error:
        raise UsageError(f"`{entry.section}` of `{opened.path}`: {error}", hint=error.hint) from error
    if end < start:
        raise UsageError(f"`{entry.section}` of `{opened.path}` ends before it begins", hint=f"write `{last}-{first}`")
    return range(start, end + 1)


def _frame_of(opened: OpenInput, where: Where) -> int:
    times = opened.timeline.times
    if where.unit != "s":
        return where.frame(len(times), 1)
    if not opened.has_rate:
        raise UsageError(f"`{where}` is a time, and pictures have none", hint="write frames, as in `0-15`")
    end = times[-1] - times[0] + 1 / opened.timeline.rate
    if where.number > end:
        raise UsageError(f"`{where}` is after its end at {end:.3g} s", hint="use `100%` for the last frame")
    return _nearest(times, range(len(times)), times[0] + where.number)


def seconds_of(opened: OpenInput, entry: InputEntry) -> float:
    """Return how long the used part of a video plays; 0 without a rate."""
    section = section_of(opened, entry)
    return _length(opened, section) if opened.has_rate and len(section) > 1 else 0.0


def _wanted(entry: InputEntry, timeline: ClipTimeline) -> list[int]:
    """Return the frames of the clip that a source is for."""
    count = timeline.num_frames
    return frames_at(entry.frames, count, timeline.fps) if entry.frames else list(range(count))


def _places(opened: OpenInput, section: range, wanted: Sequence[int], fps: float) -> list[float]:
    """Return the place in the section for each wanted frame: seconds, or pictures if they have no rate."""
    if len(section) == 1:
        return [0.0] * len(wanted)
    if opened.has_rate:
        return [frame / fps for frame in wanted]
    return [float(number) for number in range(len(wanted))]


def _length(opened: OpenInput, section: range) -> float:
    """Return the length of a section in the unit of `_places`."""
    times = opened.timeline.times
    if len(section) == 1 or not opened.has_rate:
        return float(len(section))
    return times[section[-1]] - times[section.start] + 1 / opened.timeline.rate


def _frame_at(opened: OpenInput, section: range, place: float) -> int:
    times = opened.timeline.times
    if len(section) == 1 or not opened.has_rate:
        return section[round(place)]
    return _nearest(times, section, times[section.start] + place)


def _nearest(times: Sequence[float], section: range, time: float) -> int:
    after = min(max(bisect_left(times, time, section.start, section.stop), section.start + 1), section.stop - 1)
    return after - 1 if time - times[after - 1] <= times[after] - time else after


@lru_cache(maxsize=32)
def _open(path: Path, state: tuple[tuple[str, FileState], ...]) -> OpenInput:
    """Probe a source; `state` is name and state of its files, so that a changed one is probed again."""
    media = _media(path, tuple(name for name, _ in state))
    sha256 = sha256_of(path) if media.kind == "video" else ""
    return OpenInput(path, media, probe(media, sha256), state)


def _media(path: Path, names: tuple[str, ...]) -> Media:
    if path.is_dir():
        return Media(path.name, path, "frames", frames=names)
    kind = kind_of(path)
    if kind is None:
        reason = why_unread(path)
        message = f"cannot use `{path}`: {reason}" if reason else f"`{path}` is neither a picture nor a video"
        raise UsageError(message, hint="give a video, a picture or a folder of pictures")
    return Media(path.name, path, kind if kind == "video" else picture_kind(path))


def _chunks(
    opened: OpenInput, numbers: Sequence[int], size: tuple[int, int], fit: Fit, transform: Transform
) -> Iterator[Frames]:
    decoded_size = _decoded_size(opened.timeline, size, fit)
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        if opened.media.kind == "video":
            frames = decode.read_frames(opened.media, opened.timeline, chunk, decoded_size)
        else:
            frames = pictures.read_frames(opened.media, chunk, decoded_size)
        yield _padded(transform(_cropped(frames, size)), size)


def _decoded_size(timeline: Timeline, size: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """Return the size at which a source covers the clip (`crop`), lies within it (`pad`), or equals it (`stretch`)."""
    if fit == "stretch":
        return size
    across, down = size[0] / timeline.width, size[1] / timeline.height
    scale = max(across, down) if fit == "crop" else min(across, down)
    bound = max if fit == "crop" else min
    width, height = round(timeline.width * scale), round(timeline.height * scale)
    return max(bound(width, size[0]), 1), max(bound(height, size[1]), 1)


def _cropped(frames: Frames, size: tuple[int, int]) -> Frames:
    """Cut the middle out of frames that are larger than `size`."""
    height, width = min(frames.shape[1], size[1]), min(frames.shape[2], size[0])
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def _padded(frames: Frames, size: tuple[int, int]) -> Frames:
    """Surround frames that are smaller than `size` with black."""
    height, width = size[1] - frames.shape[1], size[0] - frames.shape[2]
    if not height and not width:
        return frames
    sides = ((height // 2, height - height // 2), (width // 2, width - width // 2))
    return np.pad(frames, ((0, 0), *sides, (0, 0)))
