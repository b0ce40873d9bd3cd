"""Decode videos with ffmpeg: one pass over the whole file to probe it, then only the frames of a clip, by seeking."""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path
from threading import Event

import numpy as np

from animdiff_cli.outputs.ffmpeg import DecodeError, Frames, file_url, stream_output
from animdiff_cli.training.data.media import Media, Timeline
from animdiff_cli.training.data.scene_detection import HEIGHT, WIDTH, FrameChanges, find_cuts

_TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
#: ticks instead of `pts_time`: ffmpeg 7 prints six digits of it, too few after a quarter of an hour
_FRAME = re.compile(r"pts: *(-?\d+|NOPTS) .*? sar:(\d+)/(\d+) s:(\d+)x(\d+)")
#: seconds; containers count in milliseconds or finer, and the shortest frames last a few of them
SAME_TIME = 1e-3
_PRECISE = "flags=bicubic+accurate_rnd+full_chroma_int"


def probe(media: Media, stop: Event | None = None) -> Timeline:
    """Decode a whole video at low resolution; return its size, frame times and cuts.

    Raises `DecodeError`, also soon after another thread sets `stop`.
    """
    changes = FrameChanges()

    def add_frame(data: bytes) -> None:
        if stop is not None and stop.is_set():
            raise DecodeError("stopped")
        changes.add(np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 3))

    # `showinfo` runs before scaling, after ffmpeg has rotated the frame upright
    filters = f"showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area"
    # several files are probed in parallel, so one thread each
    log = stream_output(["-threads", "1", *_input(media), *_output(filters)], WIDTH * HEIGHT * 3, add_frame)
    frames = _frame_lines(log)
    if not frames:
        raise DecodeError("it has no video frames")
    times = _times(log)
    if not all(map(isfinite, times)) or any(after <= before for before, after in pairwise(times)):
        raise DecodeError("its frames have no usable timestamps; `ffmpeg -i OLD NEW` rewrites them")
    # frames may differ in size; ffmpeg scales all of them to the first
    width, height = int(frames[0][4]), int(frames[0][5])
    aspect_width, aspect_height = int(frames[0][2]), int(frames[0][3])
    if aspect_width and aspect_height:  # 0/1 if unknown
        width = max(round(width * aspect_width / aspect_height), 1)
    count = min(len(times), len(changes.levels) + 1)
    return Timeline(width, height, times[:count], find_cuts(changes.levels, changes.colors))


def read_frames(media: Media, timeline: Timeline, frames: Sequence[int], size: tuple[int, int]) -> Frames:
    """Decode the numbered frames at `size` (width, height): uint8 `[F, H, W, 3]`. `frames` increases.

    Raises `DecodeError` if the file has changed since it was probed.
    """
    wanted = sorted(set(frames))
    found = _read_from(media, timeline, wanted, size, wanted[0])
    if found is None and wanted[0]:
        # in some containers, MPEG-TS for one, ffmpeg seeks past the requested time
        found = _read_from(media, timeline, wanted, size, 0)
    if found is None:
        raise DecodeError("its frames have changed")
    return np.stack([found[index] for index in frames])


def _read_from(
    media: Media, timeline: Timeline, wanted: Sequence[int], size: tuple[int, int], first: int
) -> dict[int, Frames] | None:
    """Decode the wanted frames, starting at frame `first`; None if their times differ from the probed ones."""
    width, height = size
    start = _seconds_before(timeline.times, first)
    chosen = "+".join(f"eq(n\\,{index - first})" for index in wanted)
    filters = f"select={chosen},showinfo=checksum=0,scale={width}:{height}:{_PRECISE}"
    decoded: list[Frames] = []

    def add_frame(data: bytes) -> None:
        decoded.append(np.frombuffer(data, np.uint8).reshape(height, width, 3))

    seek = ["-ss", f"{start:.6f}"] if start else []
    output = [*_output(filters), "-frames:v", str(len(wanted))]
    log = stream_output([*seek, *_input(media), *output], width * height * 3, add_frame)
    # after seeking, times count from `start`
    times = [start + time for time in _times(log)]
    expected = [timeline.times[index] for index in wanted]
    # the last selected frame may be logged and not written
    if len(decoded) < len(wanted) or not np.allclose(times[: len(wanted)], expected, rtol=0, atol=SAME_TIME):
        return None
    return dict(zip(wanted, decoded, strict=True))


def _seconds_before(times: Sequence[float], index: int) -> float:
    """Return a time between frame `index` and the one before, so that decoding starts at exactly that frame."""
    return 0.0 if index == 0 else max((times[index - 1] + times[index]) / 2, 0.0)


def _frame_lines(log: str) -> list[re.Match[str]]:
    """Parse the `showinfo` line of each frame: ticks, pixel aspect ratio, size."""
    return [match for line in log.splitlines() if (match := _FRAME.search(line))]


def _input(media: Media) -> list[str]:
    return ["-i", file_url(media.path) if media.span is None else _subfile(media.path, media.span)]


def _subfile(archive: Path, span: tuple[int, int]) -> str:
    """Return the URL of a byte range: ffmpeg seeks inside it without unpacking the archive."""
    return f"subfile,,start,{span[0]},end,{span[1]},,:{file_url(archive)}"


def _output(filters: str) -> list[str]:
    # without passthrough, ffmpeg repeats and drops frames of videos with a variable frame rate
    video = ["-map", "0:v:0", "-vf", filters, "-fps_mode", "passthrough"]
    return [*video, "-f", "rawvideo", "-pix_fmt", "rgb24"]


def _times(log: str) -> tuple[float, ...]:
    """Parse the time of each frame in seconds; NaN for a frame without a timestamp."""
    base = _TIME_BASE.search(log)
    seconds = int(base[1]) / int(base[2]) if base else float("nan")
    return tuple(float("nan") if match[1] == "NOPTS" else int(match[1]) * seconds for match in _frame_lines(log))
