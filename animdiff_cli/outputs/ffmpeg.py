"""The bundled ffmpeg: raw frames in through a pipe and a file out, or a file in and raw frames out."""

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

#: clips travel through this room as uint8 `[F, H, W, 3]`, one frame as `[H, W, 3]`, sRGB
Frames = npt.NDArray[np.uint8]

#: refusals of the operating system that ffmpeg passes on in its own words
SYSTEM_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)

#: what ffmpeg says of a file it cannot show → what that means; the first that is found counts
COMPLAINTS = (
    ("matches no streams", "it holds no pictures"),
    ("No such file or directory", "there is no such file"),
    ("Permission denied", "permission denied"),
    ("moov atom not found", "cut off or damaged: its index is missing"),
    ("Invalid data found when processing input", "not a video, or damaged"),
    ("End of file", "not a video, or damaged"),
)

REINSTALL = "run `pip install --force-reinstall imageio-ffmpeg`"


class EncodeError(AnimdiffError):
    """ffmpeg failed. The message ends in the last lines it said."""


class DecodeError(AnimdiffError):
    """A file that cannot be shown. The message is why, without the name of the file."""

    exit_code = 3


def encode(frames: Iterable[Frames], size: tuple[int, int], rate: Fraction, arguments: Sequence[str]) -> bytes:
    """Run ffmpeg with frames as its first input, one at a time, and return what it wrote to stdout.

    `size` is (width, height) in pixels and must be that of every frame; `rate` is in frames per second. stdout must
    stay below the size of a pipe (4 KiB): it is read when the last frame is in. Raises `EncodeError` when ffmpeg
    fails by itself, `OSError` when the operating system refuses: a full disk, a folder without permission.
    """
    width, height = size
    picture = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(rate)]
    command = [_program(), "-v", "error", "-nostdin", "-y", *picture, "-i", "pipe:0", *arguments]
    # a file, because an unread stderr pipe would stop ffmpeg once it is full
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        with process:
            try:
                out = _converse(process, frames)
            except BaseException:
                process.kill()
                raise
        _check(process.returncode, _tail(log))
    return out


def probe(path: Path, arguments: Sequence[str]) -> bytes:
    """Run ffmpeg on a file and return its stdout, of any length. Raises `EncodeError`."""
    command = [_program(), "-v", "error", "-nostdin", "-i", url(path), *arguments, "pipe:1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    _check(done.returncode, done.stderr.decode(errors="replace").strip())
    return done.stdout


def drain(arguments: Sequence[str], size: int, take: Callable[[bytes], None]) -> str:
    """Run ffmpeg and hand its stdout to `take` in pieces of `size` bytes; return what it said, its log included.

    Nothing but one piece is held in memory. Raises `DecodeError`.
    """
    command = [_program(), "-hide_banner", "-nostats", "-nostdin", *arguments, "pipe:1"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        with process:
            assert process.stdout is not None
            try:
                while len(piece := process.stdout.read(size)) == size:
                    take(piece)
            except BaseException:
                process.kill()
                raise
        said = _tail(log)
    if process.returncode:
        raise DecodeError(_reason(said))
    return said


def list_encoders() -> tuple[str, frozenset[str]]:
    """Ask ffmpeg for its version, as `ffmpeg 7.0.2`, and the names of its encoders. Raises `EncodeError`."""
    asked = [_program(), "-hide_banner", "-encoders"]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise EncodeError(f"the bundled ffmpeg does not run: {error}", hint=REINSTALL) from error
    _check(done.returncode, done.stderr.strip())
    lines = (line.split() for line in done.stdout.splitlines())
    names = frozenset(words[1] for words in lines if len(words) > 1 and words[0].startswith("V"))
    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}", names


def url(path: Path) -> str:
    """`path` so that ffmpeg cannot take it for a flag or a protocol: names like `-x.mp4` and `a:b.mp4` are fine."""
    return f"file:{path.absolute()}"


def _program() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EncodeError("the bundled ffmpeg is missing", hint=REINSTALL) from error


def _converse(process: subprocess.Popen[bytes], frames: Iterable[Frames]) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    # a broken pipe means that ffmpeg gave up; its exit status and last words say why
    with suppress(BrokenPipeError):
        for frame in frames:
            process.stdin.write(np.ascontiguousarray(frame).data)
    with suppress(BrokenPipeError):
        process.stdin.close()
    return process.stdout.read()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace").strip()


def _reason(said: str) -> str:
    for sign, meaning in COMPLAINTS:
        if sign in said:
            return meaning
    last_words = said.splitlines()[-1:] or ["ffmpeg said nothing"]
    return f"ffmpeg cannot read it: {last_words[0].strip()}"


def _check(status: int, said: str) -> None:
    if status == 0:
        return
    _raise_system_failure(status, said)
    last_words = " · ".join(said.splitlines()[-5:]) or "it said nothing"
    raise EncodeError(
        f"ffmpeg ended with status {status}: {last_words}",
        hint="`--format frames` needs no encoder and keeps every frame",
    )


def _raise_system_failure(status: int, said: str) -> None:
    """Raise what Python itself would have raised where the operating system refused to write."""
    if status < 0 and -status == getattr(signal, "SIGXFSZ", None):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    for code in SYSTEM_FAILURES:
        if os.strerror(code) in said:
            raise OSError(code, os.strerror(code))
