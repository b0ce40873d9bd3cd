"""GIF: exact timing, accurate colours, one image per frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from animdiff_cli.core.timing import gif_delays
from animdiff_cli.errors import UsageError
from animdiff_cli.outputs import EncodeError, write_clip
from animdiff_cli.outputs.gif import PALETTE_PIXELS, set_delays, subsample


def test_gif_plays_at_exactly_eight_frames_per_second(tmp_path, make_clip, decode_picture):
    _, durations = decode_picture(write_clip(make_clip(16), 8, tmp_path / "a.gif", "gif", {}))
    assert durations == [120, 130, 130, 120] * 4
    assert sum(durations) == 2000


@pytest.mark.parametrize("fps", [1.5, 10, 12, 23.976, 30, 50])
def test_frame_delays_are_exact_at_any_rate(fps, tmp_path, make_clip, decode_picture):
    frames, durations = decode_picture(write_clip(make_clip(7), fps, tmp_path / "a.gif", "gif", {}))
    assert len(frames) == 7
    assert durations == [10 * delay for delay in gif_delays(7, fps)]


def test_equal_frames_are_not_merged(tmp_path, make_clip, decode_picture):
    clip = make_clip(6, still=True)
    frames, durations = decode_picture(write_clip(clip, 8, tmp_path / "a.gif", "gif", {}))
    assert len(frames) == 6
    assert sum(durations) == 750
    assert all(np.array_equal(frame, frames[0]) for frame in frames)


def test_one_frame_becomes_a_still(tmp_path, make_clip, decode_picture):
    frames, _ = decode_picture(write_clip(make_clip(1), 8, tmp_path / "a.gif", "gif", {}))
    assert frames.shape == (1, 32, 48, 3)


def test_gif_loops_forever(tmp_path, make_clip):
    with Image.open(write_clip(make_clip(), 8, tmp_path / "a.gif", "gif", {})) as picture:
        assert picture.info["loop"] == 0


def test_flat_colours_are_exact(tmp_path, chart, decode_picture):
    frames, _ = decode_picture(write_clip(chart, 8, tmp_path / "a.gif", "gif", {}))
    assert np.array_equal(frames, chart)


def test_gradients_are_close_and_frames_are_in_order(tmp_path, make_clip, decode_picture):
    clip = make_clip(12)
    frames, _ = decode_picture(write_clip(clip, 8, tmp_path / "a.gif", "gif", {}))
    errors = np.abs(frames[:, None].astype(int) - clip[None]).mean(axis=(2, 3, 4))
    assert errors.argmin(axis=1).tolist() == list(range(12))
    assert errors.diagonal().max() < 5


def test_flat_colours_are_exact_with_a_subsampled_palette(tmp_path, chart, decode_picture):
    large = chart.repeat(9, axis=1).repeat(9, axis=2)
    frames, _ = decode_picture(write_clip(large, 8, tmp_path / "a.gif", "gif", {}))
    assert np.array_equal(frames, large)


@given(st.integers(1, 64), st.integers(1, 2000), st.integers(1, 2000))
def test_the_palette_uses_the_same_number_of_pixels_of_every_frame(num_frames, height, width):
    clip = np.broadcast_to(np.uint8(0), (num_frames, height, width, 3))
    frames, (columns, rows) = subsample(clip)
    sample = list(frames)
    assert len(sample) == num_frames
    assert {frame.shape for frame in sample} == {(rows, columns, 3)}
    assert min(sample[0].shape) >= 1
    if min(height, width) > 64:
        assert sum(frame.size // 3 for frame in sample) <= PALETTE_PIXELS


def test_a_large_clip_does_not_block_the_pipe(tmp_path, make_clip, decode_picture):
    frames, _ = decode_picture(write_clip(make_clip(64, 256, 256), 24, tmp_path / "a.gif", "gif", {}))
    assert frames.shape == (64, 256, 256, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 31)])
def test_any_size_is_kept(size, tmp_path, decode_picture):
    clip = np.full((3, *size, 3), 90, np.uint8)
    frames, _ = decode_picture(write_clip(clip, 8, tmp_path / "a.gif", "gif", {}))
    assert np.array_equal(frames, clip)


def test_sixty_frames_per_second_are_refused_and_nothing_is_written(tmp_path, make_clip):
    with pytest.raises(UsageError, match="50 frames per second"):
        write_clip(make_clip(), 60, tmp_path / "a.gif", "gif", {})
    assert not list(tmp_path.iterdir())


def test_a_missing_delay_is_an_error(tmp_path, make_clip):
    gif = write_clip(make_clip(4), 8, tmp_path / "a.gif", "gif", {}).read_bytes()
    with pytest.raises(EncodeError, match="4 images for 3 frames"):
        set_delays(gif, [10, 10, 10], "{}")
