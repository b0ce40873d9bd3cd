"""MP4 and WebM: accurate colours, exact frame rate, any size, and clear errors."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from animdiff_cli.outputs import EncodeError, write_clip
from animdiff_cli.outputs import video as video_module

both = pytest.mark.parametrize("format", ["mp4", "webm"])


def described(path):
    """Return what ffmpeg reports about a file."""
    run = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path], capture_output=True, check=False
    )
    return run.stderr.decode()


@both
def test_every_frame_is_written_in_order(format, tmp_path, make_clip, decode_video):
    clip = make_clip(12)
    frames = decode_video(write_clip(clip, 8, tmp_path / "a", format, {}))
    errors = np.abs(frames[:, None].astype(int) - clip[None]).mean(axis=(2, 3, 4))
    assert errors.argmin(axis=1).tolist() == list(range(12))


@both
def test_colours_are_accurate_after_conversion_to_bt709(format, tmp_path, chart, decode_video):
    frames = decode_video(write_clip(chart, 8, tmp_path / "a", format, {}))
    error = np.abs(frames.astype(int) - chart).reshape(4, 4, 16, 4, 16, 3)
    # chroma is shared by 2×2 pixels, so edges may bleed; the squares may not
    assert error[:, :, 4:12, :, 4:12].max() <= 4


@both
def test_dark_pixels_do_not_overflow(format, tmp_path, decode_video):
    dark = np.full((3, 32, 32, 3), 40, np.uint8)
    frames = decode_video(write_clip(dark, 8, tmp_path / "a", format, {}))
    assert abs(frames.mean() - 40) < 2


@both
def test_the_colour_space_is_tagged(format, tmp_path, make_clip):
    assert "yuv420p(tv, bt709, progressive)" in described(write_clip(make_clip(), 8, tmp_path / "a", format, {}))


@both
@pytest.mark.parametrize(("fps", "shown"), [(8, "8 fps"), (12.5, "12.50 fps"), (24000 / 1001, "23.98 fps")])
def test_the_frame_rate_is_exact(format, fps, shown, tmp_path, make_clip):
    assert shown in described(write_clip(make_clip(8), fps, tmp_path / "a", format, {}))


@both
@pytest.mark.parametrize("size", [(33, 47), (32, 31), (1, 1)])
def test_odd_sides_are_padded_by_one_pixel_without_scaling(format, size, tmp_path, decode_video):
    height, width = size
    flat = np.full((3, height, width, 3), (200, 120, 60), np.uint8)
    frames = decode_video(write_clip(flat, 8, tmp_path / "a", format, {}))
    assert frames.shape == (3, height + height % 2, width + width % 2, 3)
    assert np.abs(frames.astype(int) - (200, 120, 60)).max() <= 4


def test_the_index_of_an_mp4_comes_first(tmp_path, make_clip):
    raw = write_clip(make_clip(), 8, tmp_path / "a.mp4", "mp4", {}).read_bytes()
    assert 0 < raw.index(b"moov") < raw.index(b"mdat")


def test_webm_is_encoded_as_vp9(tmp_path, make_clip):
    assert "Video: vp9" in described(write_clip(make_clip(), 8, tmp_path / "a.webm", "webm", {}))


@both
def test_one_frame_is_enough(format, tmp_path, make_clip, decode_video):
    assert len(decode_video(write_clip(make_clip(1), 8, tmp_path / "a", format, {}))) == 1


@both
def test_a_large_clip_does_not_block_the_pipe(format, tmp_path, make_clip, decode_video):
    path = write_clip(make_clip(64, 256, 256), 24, tmp_path / "a", format, {})
    assert decode_video(path).shape == (64, 256, 256, 3)


def test_an_ffmpeg_failure_reports_the_end_of_its_log(tmp_path, make_clip):
    unknown = video_module.Codec("mp4", ("-c:v", "no-such-encoder"))
    with pytest.raises(EncodeError, match="no-such-encoder") as failure:
        video_module._write(make_clip(64, 256, 256), 8, tmp_path / "a.mp4", "{}", unknown)
    assert "--format frames" in failure.value.hint


def test_names_that_look_like_options_or_protocols_are_paths(tmp_path, make_clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-n.mp4", "http:x.gif", "100%d.webm"):
        path = tmp_path.__class__(name)
        format = name.rsplit(".", 1)[1]
        assert write_clip(make_clip(), 8, path, format, {}) == path
        assert (tmp_path / name).stat().st_size > 0
