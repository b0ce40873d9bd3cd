"""Decode videos with ffmpeg: one pass over the whole file to probe it, then only the frames of a clip, by seeking."""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from threading import Event

import numpy as np

from animdiff_cli.outputs.ffmpeg import MAX_PIXELS, DecodeError, Frames, safe_input, stream_output
from animdiff_cli.training.data.media import Media, Timeline
from animdiff_cli.training.data.scene_detection import HEIGHT, WIDTH, FrameChanges, find_cuts

_TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
#: ticks instead of `pts_time`: ffmpeg 7 prints six digits of it, too few after a quarter of an hour
_FRAME = re.compile(r"pts: *(-?\d+|NOPTS) .*? sar:(\d+)/(\d+) s:(\d+)x(\d+)")
_VPX = re.compile(r"Video: (vp[89])\b")
_ALPHA_MODE = re.compile(r"alpha_mode\s*: 1\b", re.IGNORECASE)
#: decoders that read the transparency of a video
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
#: alpha below which a pixel counts as transparent, of 255: conversions round
OPAQUE = 250
#: seconds; containers count in milliseconds or finer, and the shortest frames last a few of them
SAME_TIME = 1e-3
_PRECISE = "flags=bicubic+accurate_rnd+full_chroma_int"


def probe(media: Media, stop: Event | None = None) -> Timeline:
    """Decode a whole video at low resolution; return its size, frame times, cuts and whether it is transparent.

    Raises `DecodeError`, also soon after another thread sets `stop`.
    """
    changes = FrameChanges()
    timeline, log = _probe(media, None, changes, stop)
    # the default decoders of VP8 and VP9 ignore transparency, which is a stream of its own
    if _ALPHA_MODE.search(log) and (codec := _VPX.search(log)):
        timeline, _ = _probe(media, ALPHA_DECODERS[codec[1]], FrameChanges(), stop)
    return timeline


def _probe(media: Media, decoder: str | None, changes: FrameChanges, stop: Event | None) -> tuple[Timeline, str]:
    transparent = False

    def add_frame(data: bytes) -> None:
        nonlocal transparent
        if stop is not None and stop.is_set():
            raise DecodeError("stopped")
        frame = np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 4)
        transparent = transparent or bool(frame[..., 3].min() < OPAQUE)
        changes.add(_over_white(frame, premultiplied=False) if transparent else frame[..., :3])

    # `showinfo` runs before scaling, after ffmpeg has rotated the frame upright
    filters = f"showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area"
    # several files are probed in parallel, so one thread each
    arguments = [*safe_input(media.path, media.span, decoder), *_output(filters, "rgba")]
    log = stream_output(["-threads", "1", *arguments], WIDTH * HEIGHT * 4, add_frame)
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
    if width * height > MAX_PIXELS:
        raise DecodeError(f"its frames are shown at {width}×{height} pixels")
    count = min(len(times), len(changes.levels) + 1)
    cuts = find_cuts(changes.levels, changes.colors)
    return Timeline(width, height, times[:count], cuts, transparent, decoder), log


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
    # the hidden colors of transparent pixels must not bleed into their neighbours when the frame is scaled
    premultiply = "format=gbrap,premultiply=inplace=1," if timeline.transparent else ""
    filters = f"select={chosen},showinfo=checksum=0,{premultiply}scale={width}:{height}:{_PRECISE}"
    channels = 4 if timeline.transparent else 3
    decoded: list[Frames] = []

    def add_frame(data: bytes) -> None:
        frame = np.frombuffer(data, np.uint8).reshape(height, width, channels)
        decoded.append(_over_white(frame, premultiplied=True) if timeline.transparent else frame)

    seek = ["-ss", f"{start:.6f}"] if start else []
    output = [*_output(filters, "rgba" if timeline.transparent else "rgb24"), "-frames:v", str(len(wanted))]
    source = safe_input(media.path, media.span, timeline.decoder)
    log = stream_output([*seek, *source, *output], width * height * channels, add_frame)
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


def _over_white(frame: Frames, *, premultiplied: bool) -> Frames:
    """Composite `[H, W, 4]` over white: `[H, W, 3]`."""
    values, alpha = frame[..., :3].astype(np.uint16), frame[..., 3:].astype(np.uint16)
    colors = values if premultiplied else (values * alpha + 127) // 255
    opaque: Frames = np.minimum(colors + (255 - alpha), 255).astype(np.uint8)
    return opaque


def _output(filters: str, pixels: str) -> list[str]:
    # without passthrough, ffmpeg repeats and drops frames of videos with a variable frame rate
    video = ["-map", "0:v:0", "-vf", filters, "-fps_mode", "passthrough"]
    return [*video, "-f", "rawvideo", "-pix_fmt", pixels]


def _times(log: str) -> tuple[float, ...]:
    """Parse the time of each frame in seconds; NaN for a frame without a timestamp."""
    base = _TIME_BASE.search(log)
    seconds = int(base[1]) / int(base[2]) if base else float("nan")
    return tuple(float("nan") if match[1] == "NOPTS" else int(match[1]) * seconds for match in _frame_lines(log))
