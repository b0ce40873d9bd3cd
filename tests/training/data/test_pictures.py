"""Stills and folders of frames are read upright, opaque and at one size."""

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.outputs.ffmpeg import DecodeError
from animdiff_cli.training.data import pictures
from animdiff_cli.training.data.media import Media


@pytest.fixture
def folder(tmp_path):
    """Write frames as numbered PNGs and return their `Media`."""

    def build(frames):
        names = []
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"{index}.png")
            names.append(f"{index}.png")
        return Media("walk", tmp_path, "frames", frames=tuple(names))

    return build


def test_a_folder_of_frames_has_the_requested_frame_rate(folder, counting, count):
    media = folder(counting(20))
    assert pictures.probe(media).rate == pytest.approx(8)
    timeline = pictures.probe(media, fps=24)
    assert (timeline.width, timeline.height, len(timeline.times), timeline.rate) == (96, 48, 20, pytest.approx(24))
    assert count(pictures.read_frames(media, [0, 7, 7, 19], (96, 48))) == [0, 7, 7, 19]


def test_frames_of_different_sizes_are_refused(folder, counting):
    frames = [*counting(3), *counting(1, height=64)]
    with pytest.raises(DecodeError, match=r"`3.png` is 96×64"):
        pictures.probe(folder(frames))


def test_a_damaged_frame_is_named(folder, counting, tmp_path):
    media = folder(counting(3))
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(DecodeError, match=r"`1.png` cannot be opened: not an image, or damaged"):
        pictures.probe(media)


def test_a_rotated_photo_is_read_upright(tmp_path, counting, count):
    orientation = Image.Exif()
    orientation[0x0112] = 6  # rotate clockwise by 90 degrees
    lying = np.rot90(counting(1, start=77)[0])
    Image.fromarray(lying).save(tmp_path / "a.jpg", exif=orientation, quality=95)
    media = Media("a.jpg", tmp_path / "a.jpg", "still")
    timeline = pictures.probe(media)
    assert (timeline.width, timeline.height, timeline.times) == (96, 48, (0.0,))
    assert count(pictures.read_frames(media, [0, 0], (96, 48))) == [77, 77]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(mode, tmp_path):
    hidden = Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert(mode)
    hidden.save(tmp_path / "a.png", **({"transparency": 0} if mode == "P" else {}))
    frames = pictures.read_frames(Media("a.png", tmp_path / "a.png", "still"), [0], (8, 8))
    assert frames.shape == (1, 8, 8, 3)
    assert (frames == 255).all()


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "1"])
def test_every_picture_mode_becomes_rgb(mode, tmp_path):
    Image.new(mode, (8, 8)).save(tmp_path / "a.tiff")
    assert pictures.read_frames(Media("a", tmp_path / "a.tiff", "still"), [0], (8, 8)).shape == (1, 8, 8, 3)


@pytest.mark.parametrize("format", ["webp", "apng"])
def test_animations_are_read_with_their_times(format, counting, count, tmp_path):
    from animdiff_cli.outputs import write_clip

    path = write_clip(counting(9), 10, tmp_path / "a", format, {})
    media = Media("a", path, "animation")
    timeline = pictures.probe(media)
    assert (timeline.width, timeline.height, len(timeline.times), timeline.rate) == (96, 48, 9, pytest.approx(10))
    assert count(pictures.read_frames(media, [1, 4, 4, 8], (96, 48))) == [1, 4, 4, 8]
    with pytest.raises(DecodeError, match="have changed"):
        pictures.read_frames(media, [3, 9], (96, 48))


def test_postscript_with_the_name_of_a_picture_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n")
    with pytest.raises(DecodeError, match="not an image, or damaged"):
        pictures.probe(Media("a.png", tmp_path / "a.png", "still"))


def test_only_pictures_with_transparent_pixels_are_transparent(tmp_path):
    for color, expected in (((255, 0, 0, 255), False), ((255, 0, 0, 9), True)):
        Image.new("RGBA", (8, 8), color).save(tmp_path / "a.png")
        assert pictures.probe(Media("a.png", tmp_path / "a.png", "still")).transparent is expected
