"""Sheets hold the frames of a clip, in order, within the limits of a browser."""

import io

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.gallery.preview import MAX_FRAMES, MAX_PIXELS, MAX_SIDE, POSTER_SIZE, make_preview
from tests.gallery.conftest import grey_clip, level


def frames_of(preview):
    """Cut a sheet into its frames, as the page does."""
    sheet = np.asarray(Image.open(io.BytesIO(preview.sheet)).convert("RGB"))
    for index in range(preview.count):
        row, column = divmod(index, preview.columns)
        top, left = row * preview.height, column * preview.width
        yield sheet[top : top + preview.height, left : left + preview.width]


def test_every_frame_is_at_its_place():
    preview = make_preview(grey_clip(7, width=24, height=16), 256)
    assert (preview.width, preview.height, preview.count, preview.step) == (24, 16, 7, 1)
    for index, frame in enumerate(frames_of(preview)):
        assert frame.shape == (16, 24, 3)
        assert np.abs(frame.astype(int) - level(index)).max() <= 2


def test_a_large_clip_is_scaled_down():
    preview = make_preview(grey_clip(2, width=300, height=100), 150)
    assert (preview.width, preview.height) == (150, 50)
    poster = Image.open(io.BytesIO(make_preview(grey_clip(1, width=400, height=300), 1024).poster))
    assert poster.size == (POSTER_SIZE, POSTER_SIZE * 3 // 4)


def test_a_long_clip_is_sampled_evenly():
    frames = np.zeros((2 * MAX_FRAMES + 1, 2, 2, 3), np.uint8)
    preview = make_preview(frames, 256)
    assert preview.step == 3
    assert preview.count == len(range(0, len(frames), 3)) <= MAX_FRAMES


@pytest.mark.parametrize("shape", [(256, 40, 512, 3), (256, 1, 4000, 3), (200, 3000, 1, 3), (1, 1, 1, 3)])
def test_a_sheet_fits_into_browsers(shape):
    preview = make_preview(np.zeros(shape, np.uint8), 1024)
    width, height = Image.open(io.BytesIO(preview.sheet)).size
    assert max(width, height) <= MAX_SIDE
    assert preview.width * preview.height * preview.count <= MAX_PIXELS
