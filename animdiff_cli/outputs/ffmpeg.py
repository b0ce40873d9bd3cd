"""Run the bundled ffmpeg: encode raw frames from a pipe to a file, or decode a file to raw frames."""

import errno
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO

import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from animdiff_cli.errors import AnimdiffError

#: a clip as uint8 `[F, H, W, 3]`, or a frame as `[H, W, 3]`, sRGB
Frames = npt.NDArray[np.uint8]

#: errors of the operating system that ffmpeg reports as text
SYSTEM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)

#: Containers that are decoded, by ffmpeg's names. Playlists (concat, hls, dash, image2) are not among them: they make
#: ffmpeg open other files and addresses.
CONTAINERS = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg", "mxf", "gif", "yuv4mpegpipe"),
    *("m4v", "dv", "rm", "nut", "ivf", "h264", "hevc", "obu", "av1", "mjpeg", "wtv", "vc1"),
)
#: the largest frame that is decoded: 8K. Decoders keep up to 16 of them.
MAX_PIXELS = 36_000_000
#: one line per frame of ten hours of video
MAX_LOG_BYTES = 256 << 20
#: memory for ffmpeg's stdout that is kept whole
MAX_METADATA_BYTES = 16 << 20

_PLAYLIST = "not a video; playlists are not followed, so give the video itself"
#: (start of a file that is no video, in lower case, reason to report)
TEXTS = (
    (b"#extm3u", _PLAYLIST),
    (b"ffconcat", _PLAYLIST),
    (b"[playlist]", _PLAYLIST),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` in its repository"),
    (b"<", "a web page or XML file, not a video"),
)

#: (text in ffmpeg's log for a file it cannot decode, reason to report); the first match counts
DECODE_ERRORS = (
    ("not on whitelist", _PLAYLIST),
    ("exceeds specified max pixel count", f"its frames have more than {MAX_PIXELS // 10**6} million pixels"),
    ("matches no streams", "it has no video stream"),
    ("No such file or directory", "there is no such file"),
    ("Permission denied", "permission denied"),
    ("misdetection possible", "not a video, or damaged"),  # recognized by its name only
    ("moov atom not found", "incomplete or damaged: its index is missing"),
    ("Invalid data found when processing input", "not a video, or damaged"),
    ("End of file", "not a video, or damaged"),
)

REINSTALL = "run `pip install --force-reinstall imageio-ffmpeg`"


class EncodeError(AnimdiffError):
    """ffmpeg failed to encode. The message ends in the last lines of its log."""


class DecodeError(AnimdiffError):
    """A file cannot be decoded. The message is the reason, without the name of the file."""

    exit_code = 3


def encode(frames: Iterable[Frames], size: tuple[int, int], rate: Fraction, arguments: Sequence[str]) -> bytes:
    """Run ffmpeg with `frames` piped to its first input, and return its stdout.

    `size` is (width, height) in pixels, the same for every frame; `rate` is in frames per second. stdout must fit
    into a pipe buffer (4 KiB), because it is read after the last frame was written. Raises `EncodeError` if ffmpeg
    fails, `OSError` if the operating system refuses, as for a full disk or missing permission.
    """
    width, height = size
    raw_input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(rate)]
    command = [_program(), "-v", "error", "-nostdin", "-y", *raw_input, "-i", "pipe:0", *arguments]
    # log to a file: ffmpeg would block on a full stderr pipe that nobody reads
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        with process:
            try:
                out = _exchange(process, frames)
            except BaseException:
                process.kill()
                raise
        _check(process.returncode, _read_log(log))
    return out


def safe_input(path: Path, span: tuple[int, int] | None = None, decoder: str | None = None) -> list[str]:
    """Return the arguments of an input file that opens no other file, no address and no oversized frame.

    `span` are the bytes [start, end) of an archive: ffmpeg seeks inside it without unpacking it. Raises `DecodeError`
    for a text, such as a playlist.
    """
    _refuse_text(path, span[0] if span else 0)
    url = f"subfile,,start,{span[0]},end,{span[1]},,:{file_url(path)}" if span else file_url(path)
    allowed = ["-protocol_whitelist", "file,subfile", "-format_whitelist", ",".join(CONTAINERS)]
    limits = ["-max_pixels", str(MAX_PIXELS), "-threads", "2"]
    return [*allowed, *limits, *(["-c:v", decoder] if decoder else []), "-i", url]


def read_metadata(path: Path) -> str:
    """Return the tags of a video in ffmpeg's metadata format. Raises `DecodeError`."""
    text = bytearray()

    def add(chunk: bytes) -> None:
        text.extend(chunk)
        if len(text) > MAX_METADATA_BYTES:
            raise DecodeError("its metadata is too large")

    stream_output([*safe_input(path), "-f", "ffmetadata"], 1 << 16, add, partial=True)
    return text.decode(errors="replace")


def stream_output(
    arguments: Sequence[str], chunk_size: int, consume: Callable[[bytes], None], *, partial: bool = False
) -> str:
    """Run ffmpeg, pass its stdout to `consume` in chunks of `chunk_size` bytes, and return its log.

    Holds one chunk in memory at a time. An incomplete last chunk is dropped without `partial`. Stops ffmpeg if
    `consume` raises. Raises `DecodeError`.
    """
    command = [_program(), "-hide_banner", "-nostats", "-nostdin", *arguments, "pipe:1"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        with process:
            assert process.stdout is not None
            try:
                while chunk := process.stdout.read(chunk_size):
                    if len(chunk) == chunk_size or partial:
                        consume(chunk)
            except BaseException:
                process.kill()
                raise
        text = _read_log(log)
    if process.returncode:
        raise DecodeError(_decode_error(text))
    return text


def list_encoders() -> tuple[str, frozenset[str]]:
    """Return ffmpeg's version, such as `ffmpeg 7.0.2`, and the names of its video encoders. Raises `EncodeError`."""
    command = [_program(), "-hide_banner", "-encoders"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise EncodeError(f"the bundled ffmpeg does not run: {error}", hint=REINSTALL) from error
    _check(done.returncode, done.stderr.strip())
    lines = (line.split() for line in done.stdout.splitlines())
    names = frozenset(words[1] for words in lines if len(words) > 1 and words[0].startswith("V"))
    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}", names


def file_url(path: Path) -> str:
    """Return `path` as a URL for ffmpeg, which would parse `-x.mp4` as an option and `a:b.mp4` as a protocol."""
    return f"file:{path.absolute()}"


def _refuse_text(path: Path, start: int) -> None:
    head = b""
    with suppress(OSError), path.open("rb") as file:  # ffmpeg reports the error
        file.seek(start)
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for text, reason in TEXTS:
        if head.startswith(text):
            raise DecodeError(reason)


def _program() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EncodeError("the bundled ffmpeg is missing", hint=REINSTALL) from error


def _exchange(process: subprocess.Popen[bytes], frames: Iterable[Frames]) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    # a broken pipe means that ffmpeg exited early; the caller checks its exit status and log
    with suppress(BrokenPipeError):
        for frame in frames:
            process.stdin.write(np.ascontiguousarray(frame).data)
    with suppress(BrokenPipeError):
        process.stdin.close()
    return process.stdout.read()


def _read_log(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read(MAX_LOG_BYTES).decode(errors="replace").strip()


def _decode_error(log: str) -> str:
    """Translate the log of a failed decoding into a reason."""
    for text, reason in DECODE_ERRORS:
        if text in log:
            return reason
    last_line = log.splitlines()[-1:] or ["no message"]
    return f"ffmpeg cannot decode it: {last_line[0].strip()}"


def _check(status: int, log: str) -> None:
    if status == 0:
        return
    _raise_system_error(status, log)
    last_lines = " · ".join(log.splitlines()[-5:]) or "no message"
    raise EncodeError(
        f"ffmpeg failed with status {status}: {last_lines}",
        hint="`--format frames` needs no encoder and keeps every frame",
    )


def _raise_system_error(status: int, log: str) -> None:
    """Raise the `OSError` behind a failure of ffmpeg, if the operating system refused to write."""
    if status < 0 and -status == getattr(signal, "SIGXFSZ", None):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    for code in SYSTEM_ERRORS:
        if os.strerror(code) in log:
            raise OSError(code, os.strerror(code))
