"""Videos through ffmpeg: one look at all of it, then only the frames of a clip, found by seeking."""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path
from threading import Event

import numpy as np

from animdiff_cli.outputs.ffmpeg import DecodeError, Frames, file_url, stream_output
from animdiff_cli.training.data.media import Media
from animdiff_cli.training.data.scene_detection import HEIGHT, WIDTH, Changes, find_cuts
from animdiff_cli.training.data.timeline import Timeline, seconds_before

_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
#: ticks rather than `pts_time`, of which ffmpeg 7 prints six digits: too few beyond a quarter of an hour
_SHOWN = re.compile(r"pts: *(-?\d+|NOPTS) .*? sar:(\d+)/(\d+) s:(\d+)x(\d+)")
#: seconds; containers count in milliseconds or finer, and the shortest frames last a few of them
SAME_TIME = 1e-3
_PRECISE = "flags=bicubic+accurate_rnd+full_chroma_int"


def look(media: Media, stop: Event | None = None) -> Timeline:
    """Decode a whole video small: its size, the times of its frames, its cuts.

    Raises `DecodeError`, also soon after another thread sets `stop`.
    """
    changes = Changes()

    def take(piece: bytes) -> None:
        if stop is not None and stop.is_set():
            raise DecodeError("stopped")
        changes.add(np.frombuffer(piece, np.uint8).reshape(HEIGHT, WIDTH, 3))

    # `showinfo` comes before the scaling, after ffmpeg has turned the picture upright
    filters = f"showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area"
    # several files are looked at side by side, so one thread each
    said = stream_output(["-threads", "1", *_input(media), *_output(filters)], WIDTH * HEIGHT * 3, take)
    shown = _shown(said)
    if not shown:
        raise DecodeError("it holds no pictures")
    times = _times(said)
    if not all(map(isfinite, times)) or any(after <= before for before, after in pairwise(times)):
        raise DecodeError("its frames carry no usable times; `ffmpeg -i OLD NEW` writes it anew")
    # a picture may differ from the one before in size; ffmpeg scales them all to the first
    width, height = int(shown[0][4]), int(shown[0][5])
    across, down = int(shown[0][2]), int(shown[0][3])
    if across and down:  # 0/1 where nobody says
        width = max(round(width * across / down), 1)
    count = min(len(times), len(changes.levels) + 1)
    return Timeline(width, height, times[:count], find_cuts(changes.levels, changes.colours))


def read(media: Media, timeline: Timeline, frames: Sequence[int], size: tuple[int, int]) -> Frames:
    """Decode the numbered frames, in increasing order, at `size` (width, height): uint8 `[F, H, W, 3]`.

    Raises `DecodeError` when the file is no longer what was looked at.
    """
    wanted = sorted(set(frames))
    found = _found(media, timeline, wanted, size, wanted[0])
    if found is None and wanted[0]:
        # some containers, MPEG-TS for one, can only jump to a later place than asked for
        found = _found(media, timeline, wanted, size, 0)
    if found is None:
        raise DecodeError("its frames are no longer the same")
    return np.stack([found[index] for index in frames])


def _found(
    media: Media, timeline: Timeline, wanted: Sequence[int], size: tuple[int, int], first: int
) -> dict[int, Frames] | None:
    """Decode the wanted frames, beginning at frame `first`; None unless they come at the times they were seen at."""
    width, height = size
    moment = seconds_before(timeline.times, first)
    chosen = "+".join(f"eq(n\\,{index - first})" for index in wanted)
    filters = f"select={chosen},showinfo=checksum=0,scale={width}:{height}:{_PRECISE}"
    pictures: list[Frames] = []

    def take(piece: bytes) -> None:
        pictures.append(np.frombuffer(piece, np.uint8).reshape(height, width, 3))

    seek = ["-ss", f"{moment:.6f}"] if moment else []
    output = [*_output(filters), "-frames:v", str(len(wanted))]
    said = stream_output([*seek, *_input(media), *output], width * height * 3, take)
    # frames count their time from the moment that was sought
    seen = [moment + time for time in _times(said)]
    expected = [timeline.times[index] for index in wanted]
    # the last of them may be filtered and never written
    if len(pictures) < len(wanted) or not np.allclose(seen[: len(wanted)], expected, rtol=0, atol=SAME_TIME):
        return None
    return dict(zip(wanted, pictures, strict=True))


def _shown(said: str) -> list[re.Match[str]]:
    """What `showinfo` said of each frame: ticks, shape of its pixels, size."""
    return [match for line in said.splitlines() if (match := _SHOWN.search(line))]


def _input(media: Media) -> list[str]:
    return ["-i", file_url(media.path) if media.span is None else _inside(media.path, media.span)]


def _inside(archive: Path, span: tuple[int, int]) -> str:
    """Bytes of an archive as a file of their own: ffmpeg seeks in them without unpacking."""
    return f"subfile,,start,{span[0]},end,{span[1]},,:{file_url(archive)}"


def _output(filters: str) -> list[str]:
    # passthrough, or ffmpeg would repeat and drop frames of a video whose rate varies
    picture = ["-map", "0:v:0", "-vf", filters, "-fps_mode", "passthrough"]
    return [*picture, "-f", "rawvideo", "-pix_fmt", "rgb24"]


def _times(said: str) -> tuple[float, ...]:
    """When each frame is shown, in seconds; not a number where it does not say."""
    base = _BASE.search(said)
    seconds = int(base[1]) / int(base[2]) if base else float("nan")
    return tuple(float("nan") if match[1] == "NOPTS" else int(match[1]) * seconds for match in _shown(said))
