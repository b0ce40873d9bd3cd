"""Clips are read back from every format as they were written."""

import struct
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.outputs import ffmpeg, open_image, read, write_clip
from animdiff_cli.outputs.read import is_animation, read_clip, read_image, read_images
from animdiff_cli.outputs.write import WRITERS

LOSSLESS = ("apng", "frames")


@pytest.mark.parametrize("format", list(WRITERS))
def test_every_format_is_read_back(format, tmp_path, make_clip):
    clip = make_clip(5, 32, 48)
    decoded = read_clip(write_clip(clip, 8, tmp_path / f"clip{FORMATS[format].suffix}", format, {}))
    assert decoded.frames.shape == clip.shape
    error = np.abs(decoded.frames.astype(int) - clip)
    assert error.max() == 0 if format in LOSSLESS else error.mean() < 6
    assert decoded.fps == (None if format == "frames" else pytest.approx(8, rel=0.02))


@pytest.mark.parametrize("format", ["gif", "webp", "apng"])
def test_merged_equal_frames_are_restored(format, tmp_path, make_clip):
    clip = make_clip(8)[[0, 0, 0, 1, 2, 2, 3, 4]]
    decoded = read_clip(write_clip(clip, 10, tmp_path / f"clip{FORMATS[format].suffix}", format, {}))
    assert len(decoded.frames) == 8
    assert decoded.fps == pytest.approx(10)
    assert np.array_equal(decoded.frames[4], decoded.frames[5])
    assert not np.array_equal(decoded.frames[5], decoded.frames[6])


def test_a_video_of_odd_size_is_read_with_its_padding(tmp_path, make_clip):
    clip = make_clip(3, 31, 47)
    assert read_clip(write_clip(clip, 8, tmp_path / "clip.mp4", "mp4", {})).frames.shape == (3, 32, 48, 3)


def test_a_folder_of_images_is_read_in_order_of_names(tmp_path):
    for name, level in (("010.png", 30), ("002.png", 20), ("001.jpg", 10)):
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert read_clip(tmp_path).frames[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_images_of_different_sizes_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    Image.new("RGB", (8, 9)).save(tmp_path / "2.png")
    with pytest.raises(UsageError, match=r"8x9 pixels, `1\.png` 8x8"):
        read_images(tmp_path)


def test_a_single_image_is_a_clip_of_one_frame(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "still.png")
    assert read_clip(tmp_path / "still.png").frames.shape == (1, 6, 8, 3)
    assert not is_animation(tmp_path / "still.png")


@pytest.mark.parametrize(
    ("name", "content"), [("a.gif", b""), ("a.mp4", b"junk"), ("a.webp", b"RIFF"), ("a.webm", b""), ("a.txt", b"hi")]
)
def test_a_file_that_is_not_a_clip_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name) as refusal:
        read_clip(tmp_path / name)
    assert refusal.value.hint


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(NotFound):
        read_clip(tmp_path / "no.gif")


def test_a_clip_larger_than_the_memory_limit_is_refused(tmp_path, make_clip, monkeypatch):
    monkeypatch.setattr(read, "MAX_BYTES", 3 * 32 * 48 * 3)
    for name, format in (("a.gif", "gif"), ("a.mp4", "mp4")):
        with pytest.raises(UsageError, match="too long: at most 3 frames"):
            read_clip(write_clip(make_clip(4), 8, tmp_path / name, format, {}))
        assert len(read_clip(write_clip(make_clip(3), 8, tmp_path / f"short-{name}", format, {})).frames) == 3


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), format=st.sampled_from(["gif", "webp", "apng"]))
def test_an_image_with_flipped_bytes_never_crashes_the_reader(data, format, tmp_path, make_clip):
    path = tmp_path / f"good{FORMATS[format].suffix}"
    if not path.exists():
        write_clip(make_clip(2, 8, 8), 8, path, format, {})
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=20)):
        raw[place] = data.draw(st.integers(0, 255))
    damaged = tmp_path / f"damaged{FORMATS[format].suffix}"
    damaged.write_bytes(raw)
    try:
        assert read_clip(damaged).frames.ndim == 4
    except AnimdiffError as error:
        assert error.hint


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.jpg", "a.webp"])
def test_postscript_with_the_name_of_an_image_is_not_run(name, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("an image started a program"))
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(UsageError, match="not an image, or damaged"):
        read_image(tmp_path / name)
    assert not is_animation(tmp_path / name)


def gif(width, height, frame_widths, disposal=1):
    """Return a GIF on a canvas of any size, with frames of one row; one pixel of each is stored."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04" + bytes([disposal << 2 | 1]) + b"\x0a\0\0\0"
    size = (struct.pack("<HHHHB", 0, 0, frame_width, 1, 0) for frame_width in frame_widths)
    return head + b"".join(control + b"\x2c" + frame + b"\x02\x02\x44\x01\0" for frame in size) + b";"


@pytest.mark.parametrize(
    ("size", "reason"),
    [((65535, 2700, 3 * [1]), "more than 67 million"), ((1024, 1024, 680 * [1]), "at most 170 frames")],
)
def test_a_small_file_that_claims_many_pixels_is_refused_before_decoding(size, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    (tmp_path / "a.gif").write_bytes(gif(*size))
    with pytest.raises(UsageError, match=reason):
        read_clip(tmp_path / "a.gif")


@pytest.mark.parametrize("disposal", [1, 2, 3])
def test_a_canvas_that_would_grow_above_the_limit_is_refused_before_it_is_allocated(disposal, tmp_path, monkeypatch):
    monkeypatch.setattr(open_image, "MAX_PIXELS", 1000)
    path = tmp_path / "a.gif"
    for widths in ([1, 1001], [1001, 1]):
        path.write_bytes(gif(8, 1, widths, disposal))
        with pytest.raises(UsageError, match=r"1001×1 pixels, more than"):
            read_clip(path)
    path.write_bytes(gif(8, 1, [1, 1], disposal))
    assert read_clip(path).frames.shape == (2, 1, 8, 3)


PLAYLIST = "playlists are not followed"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ffconcat version 1.0\nfile a.mp4\n", PLAYLIST),
        ("#EXTM3U\n#EXTINF:1,\na.mp4\n", PLAYLIST),
        ("\ufeff\n#extm3u\n", PLAYLIST),
        ("[playlist]\nFile1=a.mp4\n", PLAYLIST),
        ('<?xml version="1.0"?>\n<MPD></MPD>', "web page or XML"),
        ("<!DOCTYPE html>", "web page or XML"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        ("a fox runs", "not a video, or damaged"),
        ("", "not a video, or damaged"),
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.mkv"])
def test_a_text_with_the_name_of_a_video_is_named_and_not_followed(name, text, reason, tmp_path, make_clip):
    write_clip(make_clip(), 8, tmp_path / "a.mp4", "mp4", {})
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=f"cannot read the clip .*{reason}"):
        read_clip(tmp_path / name)


def test_a_pause_of_hours_in_a_video_ends_at_the_limit(tmp_path, make_clip, monkeypatch):
    monkeypatch.setattr(read, "MAX_FRAMES", 100)
    steady = write_clip(make_clip(4), 8, tmp_path / "a.mp4", "mp4", {})
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", steady, "-fps_mode", "passthrough"]
    pause = ["-vf", "settb=1/1000,setpts=N*125+gt(N\\,1)*36000000", "-enc_time_base", "filter"]
    subprocess.run([*command, *pause, tmp_path / "gap.mkv"], check=True)
    with pytest.raises(UsageError, match="at most 100 frames"):
        read_clip(tmp_path / "gap.mkv")


def test_a_video_with_frames_above_the_limit_is_refused(tmp_path, make_clip, monkeypatch):
    monkeypatch.setattr(ffmpeg, "MAX_PIXELS", 1000)
    clip = write_clip(make_clip(), 8, tmp_path / "a.mp4", "mp4", {})
    with pytest.raises(UsageError, match="its frames have more than"):
        read_clip(clip)


def test_transparent_images_are_read_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()
