"""Small videos whose frames show their number, in any container."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from animdiff_cli.config.data_config import DataConfig

#: black and white squares encode the number of a frame as a Gray code, least significant bit first: a single square
#: changes from one frame to the next, so counting never looks like a cut
BITS, SIDE = 8, 12


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep the cache inside the test's folder."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / ".cache"))
    return tmp_path / ".cache"


@pytest.fixture
def counting():
    """Numbered frames: uint8 `[F, height, 96, 3]`, with `start + frame` in squares at the top."""

    def build(num_frames=70, *, start=0, height=48, ground=(90, 120, 60)):
        clip = np.full((num_frames, height, BITS * SIDE, 3), ground, np.uint8)
        for frame in range(num_frames):
            code = (start + frame) ^ (start + frame) >> 1
            for bit in range(BITS):
                level = 235 if code >> bit & 1 else 20
                clip[frame, :SIDE, bit * SIDE : (bit + 1) * SIDE] = level
        return clip

    return build


@pytest.fixture
def count():
    """Read the numbers of frames of any size with squares at the top."""

    def read(frames):
        height, width = frames.shape[1:3]
        row = frames[:, round(height / 8)].mean(axis=-1)
        places = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
        squares = row[:, places] > 128
        # a bit of the number is the parity of its square and all higher ones
        bits = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1] % 2
        return [int(number) for number in bits @ (1 << np.arange(BITS))]

    return read


@pytest.fixture
def ffmpeg():
    """Run the bundled ffmpeg on files, or on bytes passed as `pipe`."""

    def run(*arguments, pipe=b""):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, input=pipe)

    return run


@pytest.fixture
def write_video(ffmpeg):
    """Write frames to a container chosen by suffix, with a key frame every 12 frames; return the path."""

    def write(frames, path, fps=8.0, *options):
        height, width = frames.shape[1:3]
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", fps, "-i", "pipe:0"]
        fast = {".gif": (), ".avi": (), ".webm": ("-deadline", "realtime", "-cpu-used", 8)}
        codec = fast.get(path.suffix, ("-c:v", "libx264", "-preset", "ultrafast", "-g", 12))
        pixels = "rgb8" if path.suffix == ".gif" else "yuv420p"
        ffmpeg(*raw, *codec, "-pix_fmt", pixels, *options, path, pipe=frames.tobytes())
        return path

    return write


@pytest.fixture
def config(tmp_path):
    """Build settings for small clips of the videos in `videos/`."""

    def build(**given):
        values = {"videos": tmp_path / "videos", "num_frames": 8, "stride": 4, "size": 48, "square": False}
        return DataConfig(**values | given)

    return build


@pytest.fixture
def notes():
    """Collect the emitted events."""

    class Kept(list):
        def __call__(self, event):
            self.append(event)

        @property
        def messages(self):
            return [event.message for event in self if hasattr(event, "message")]

    return Kept()
