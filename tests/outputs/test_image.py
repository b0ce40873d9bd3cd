"""WebP and APNG: exact timing and, where the format allows it, every frame."""

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.outputs import write_clip

both = pytest.mark.parametrize("format", ["webp", "apng"])


@both
def test_durations_at_eight_frames_per_second_are_exact(format, tmp_path, make_clip, decode_picture):
    _, durations = decode_picture(write_clip(make_clip(6), 8, tmp_path / "a", format, {}))
    assert durations == [125] * 6


def test_webp_durations_at_thirty_frames_per_second_do_not_drift(tmp_path, make_clip, decode_picture):
    _, durations = decode_picture(write_clip(make_clip(6), 30, tmp_path / "a.webp", "webp", {}))
    assert durations == [33, 34, 33, 33, 34, 33]


def test_apng_stores_thirty_frames_per_second_as_a_thirtieth(tmp_path, make_clip):
    raw = write_clip(make_clip(3), 30, tmp_path / "a.png", "apng", {}).read_bytes()
    control = raw.index(b"fcTL") + 4
    assert raw[control + 20 : control + 24] == bytes([0, 1, 0, 30])


@pytest.mark.parametrize("still", [False, True])
def test_apng_keeps_every_pixel_of_every_frame(still, tmp_path, make_clip, decode_picture):
    clip = make_clip(6, 33, 31, still=still)
    frames, _ = decode_picture(write_clip(clip, 8, tmp_path / "a.png", "apng", {}))
    assert np.array_equal(frames, clip)


def test_webp_colours_are_accurate(tmp_path, chart, decode_picture):
    frames, _ = decode_picture(write_clip(chart, 8, tmp_path / "a.webp", "webp", {}))
    middle = np.abs(frames[0].astype(int) - chart[0]).reshape(4, 16, 4, 16, 3)[:, 4:12, :, 4:12]
    assert middle.max() <= 6


def test_webp_frames_are_in_order(tmp_path, make_clip, decode_picture):
    clip = make_clip(8)
    frames, _ = decode_picture(write_clip(clip, 8, tmp_path / "a.webp", "webp", {}))
    errors = np.abs(frames[:, None].astype(int) - clip[None]).mean(axis=(2, 3, 4))
    assert errors.argmin(axis=1).tolist() == list(range(8))


@both
def test_animations_loop_forever(format, tmp_path, make_clip):
    with Image.open(write_clip(make_clip(), 8, tmp_path / "a", format, {})) as picture:
        assert picture.info["loop"] == 0


@both
def test_one_frame_becomes_a_still(format, tmp_path, make_clip, decode_picture):
    frames, _ = decode_picture(write_clip(make_clip(1), 8, tmp_path / "a", format, {}))
    assert frames.shape == (1, 32, 48, 3)
