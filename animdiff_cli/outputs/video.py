"""Write MP4 (H.264) and WebM (VP9): 8-bit 4:2:0, BT.709, with colour tags."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animdiff_cli.core.timing import frame_rate
from animdiff_cli.files.os_errors import temporary_folder
from animdiff_cli.outputs.audio import AudioTrack
from animdiff_cli.outputs.ffmpeg import Frames, encode, file_url
from animdiff_cli.outputs.provenance import ffmetadata
from animdiff_cli.outputs.spool import FrameSequence

#: By default ffmpeg converts with BT.601 and writes no tags; players then guess from the size, and colours shift.
BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)


@dataclass(frozen=True, slots=True)
class Codec:
    """A container and the ffmpeg options for its video stream."""

    container: str
    options: tuple[str, ...]
    audio: tuple[str, ...] = ()  # for its audio stream


#: faststart puts the index first, so that browsers can play the clip while it loads
MP4 = Codec(
    "mp4",
    ("-c:v", "libx264", "-crf", "17", "-preset", "medium", "-movflags", "+faststart"),
    ("-c:a", "aac", "-b:a", "192k"),
)
#: without `-b:v 0` a default bit rate limits the quality
WEBM = Codec(
    "webm",
    ("-c:v", "libvpx-vp9", "-crf", "20", "-b:v", "0", "-deadline", "good", "-cpu-used", "3", "-row-mt", "1"),
    ("-c:a", "libopus", "-b:a", "128k"),
)
#: by default one thread per core, and the bytes of the file differ with their number
THREADS = "4"


def write_mp4(frames: FrameSequence, fps: float, path: Path, recipe: str, *, audio: AudioTrack | None = None) -> None:
    """Write `[F, H, W, 3]` as H.264. Odd sides are padded by one pixel, a copy of the last column or row."""
    _write(frames, fps, path, recipe, MP4, audio)


def write_webm(frames: FrameSequence, fps: float, path: Path, recipe: str, *, audio: AudioTrack | None = None) -> None:
    """Write `[F, H, W, 3]` as VP9. Odd sides are padded by one pixel, a copy of the last column or row."""
    _write(frames, fps, path, recipe, WEBM, audio)


def _write(
    frames: FrameSequence, fps: float, path: Path, recipe: str, codec: Codec, audio: AudioTrack | None = None
) -> None:
    _, height, width, _ = frames.shape
    even = (_pad_to_even(frame) for frame in frames)
    # a file, because an argument is limited to 128 KiB
    with temporary_folder({"tags": ffmetadata(recipe).encode("ascii")}) as folder:
        tags = file_url(folder / "tags")
        sound = audio.input_arguments() if audio else []
        of_sound = ["-map", "2:a:0?", *codec.audio] if audio else []
        metadata = [
            "-f",
            "ffmetadata",
            "-i",
            tags,
            *sound,
            "-map",
            "0:v",
            *of_sound,
            "-map_metadata",
            "1",
            "-vf",
            BT709,
        ]
        # without `bitexact`, WebM gets a random track id and differs on every run
        output = ["-threads", THREADS, "-fflags", "+bitexact", "-f", codec.container, file_url(path)]
        encode(even, (width + width % 2, height + height % 2), frame_rate(fps), [*metadata, *codec.options, *output])


def _pad_to_even(frame: Frames) -> Frames:
    """Pad odd sides by one pixel: 4:2:0 halves both sides. Scaling would blur every pixel, cropping would lose some."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
