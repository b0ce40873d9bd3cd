"""Small clips, and independent decoders for the files: ffmpeg and Pillow."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

PALETTE = [
    *[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (255, 255, 255), (0, 0, 0)],
    *[(128, 128, 128), (40, 40, 40), (200, 120, 60), (60, 120, 200), (90, 160, 30), (240, 200, 180), (20, 60, 20)],
    (128, 0, 64),
]


@pytest.fixture
def make_clip():
    """A red square that moves over a gradient, one pixel to the right per frame: `[F, H, W, 3]`."""

    def build(num_frames=4, height=32, width=48, *, still=False):
        rows, columns = np.mgrid[0:height, 0:width]
        ground = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 120)], -1).astype(np.uint8)
        clip = np.repeat(ground[None], num_frames, axis=0)
        for frame in range(num_frames):
            left = 0 if still else frame % (width // 2)
            clip[frame, height // 4 : height // 2, left : left + width // 4] = (230, 30, 30)
        return clip

    return build


@pytest.fixture
def chart():
    """A test chart of sixteen flat colours in squares of 16 pixels: `[4, 64, 64, 3]`."""
    squares = np.array(PALETTE, dtype=np.uint8).reshape(4, 4, 3)
    return np.repeat(squares.repeat(16, axis=0).repeat(16, axis=1)[None], 4, axis=0)


@pytest.fixture
def decode_video():
    """Decode with ffmpeg to uint8 `[F, H, W, 3]`, using the colour tags as a player does."""

    def decode(path):
        run = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", f"file:{path}"]
        precise = ["-vf", "scale=flags=accurate_rnd+full_chroma_int"]
        raw = subprocess.run(
            [*run, *precise, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True
        )
        width, height = next(imageio_ffmpeg.read_frames(str(path)))["source_size"]
        return np.frombuffer(raw.stdout, np.uint8).reshape(-1, height, width, 3)

    return decode


@pytest.fixture
def decode_picture():
    """Decode an animation with Pillow: frames `[F, H, W, 3]`, and the duration of each in milliseconds."""

    def decode(path):
        frames, durations = [], []
        with Image.open(path) as picture:
            for index in range(getattr(picture, "n_frames", 1)):
                picture.seek(index)
                frames.append(np.asarray(picture.convert("RGB")))
                durations.append(picture.info.get("duration"))
        return np.stack(frames), durations

    return decode
