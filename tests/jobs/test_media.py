"""Pictures and videos are read at the rate and size of a clip, whatever they come in."""

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.config.input_settings import InputEntry
from animdiff_cli.core.where import Timeline
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.media import num_late, open_input, place_frames, read_for_clip
from animdiff_cli.outputs import write_clip

#: brightness of frame n: 20 n + 10
FRAMES = np.stack([np.full((32, 48, 3), 20 * number + 10, np.uint8) for number in range(12)])


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 12 frames at 12 per second, 48x32; returns its path."""
    return write_clip(FRAMES, 12, tmp_path_factory.mktemp("media") / "levels.mp4", "mp4", {"config": {}})


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.fromarray(FRAMES[number]).save(tmp_path / f"f{number + 8}.png")  # f8, f9, f10: by number, not by name
    return tmp_path


def entry(source, **fields):
    return InputEntry(source=str(source), **fields)


def placed(source, num_frames, fps=12.0, **fields):
    return place_frames(open_input(str(source), "--video"), entry(source, **fields), Timeline(num_frames, fps, 1))


def levels(shown):
    """Return the number of the source frame that each frame of a clip shows."""
    found = [None if index is None else int(shown.pictures[index].mean()) // 20 for index in shown.of_frame]
    return tuple(found)


def test_a_video_plays_at_its_own_speed(video):
    assert placed(video, 12) == tuple(range(12))
    assert placed(video, 6, fps=6) == (0, 2, 4, 6, 8, 10)
    assert placed(video, 5, fps=36) == (0, 0, 1, 1, 1)


def test_the_frames_that_are_read_are_the_placed_ones(video):
    opened = open_input(str(video), "--video")
    shown = read_for_clip(opened, entry(video), Timeline(6, 6.0, 1), (48, 32))
    assert levels(shown) == (0, 2, 4, 6, 8, 10)


def test_each_picture_is_read_once(video):
    shown = read_for_clip(open_input(str(video), "--video"), entry(video), Timeline(8, 60.0, 1), (48, 32))
    assert (shown.of_frame, len(shown.pictures)) == ((0, 0, 0, 1, 1, 1, 1, 1), 2)
    assert levels(shown) == (0, 0, 0, 1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"after_end": "hold"}, (10, 11, 11, 11)),
        ({"after_end": "loop"}, (10, 11, 10, 11)),
        ({"section": "2-4"}, (2, 3, 4, 4)),
        ({"section": "0.5s-0.75s"}, (6, 7, 8, 9)),
        ({"section": "-4"}, (8, 9, 10, 11)),
        ({"frames": "0,-1", "section": "3-11"}, (3, None, None, 6)),
    ],
)
def test_a_section_of_a_video_and_what_follows_it(video, fields, expected):
    fields = {"section": "10-11"} | fields
    assert placed(video, 4, **fields) == expected


def test_frames_after_the_end_are_counted_or_refused(video):
    opened, timeline = open_input(str(video), "--video"), Timeline(16, 12.0, 1)
    assert num_late(opened, entry(video), timeline) == 4
    assert num_late(opened, entry(video), Timeline(12, 12.0, 1)) == 0
    with pytest.raises(UsageError, match="ends before the clip, after 1 s"):
        place_frames(opened, entry(video, after_end="refuse"), timeline)


def test_a_folder_is_frame_for_frame_whatever_the_rate(folder):
    assert placed(folder, 3, fps=100) == (0, 1, 2)
    assert placed(folder, 5, after_end="loop") == (0, 1, 2, 0, 1)
    shown = read_for_clip(open_input(str(folder), "--video"), entry(folder), Timeline(3, 8.0, 1), (48, 32))
    assert levels(shown) == (0, 1, 2)


def test_pictures_of_a_folder_are_for_the_named_frames(folder):
    assert placed(folder, 6, frames="0,50%,-1") == (0, None, 1, None, None, 2)
    with pytest.raises(UsageError, match="has 3 pictures, and `frames` names 2 frames"):
        placed(folder, 6, frames="0,-1")


def test_one_picture_is_for_every_frame_or_for_the_named_ones(folder):
    assert placed(folder / "f8.png", 3) == (0, 0, 0)
    assert placed(folder / "f8.png", 3, frames="1") == (None, 0, None)


def test_a_gif_of_ours_is_read_frame_for_frame(tmp_path):
    clip = write_clip(FRAMES, 8, tmp_path / "clip.gif", "gif", {"config": {}})
    assert placed(clip, 12, fps=8) == tuple(range(12))


@pytest.mark.parametrize(
    ("fit", "size", "left", "right", "top"),
    [("crop", (32, 32), 64, 191, None), ("pad", (48, 48), 0, 255, 0), ("stretch", (96, 32), 0, 255, None)],
)
def test_another_shape_is_fitted(tmp_path, fit, size, left, right, top):
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (32, 64, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
    opened = open_input(str(tmp_path / "ramp.png"), "--image")
    shown = read_for_clip(opened, entry(tmp_path / "ramp.png", fit=fit), Timeline(1, 8.0, 1), size)
    picture = shown.pictures[0]
    assert picture.shape == (size[1], size[0], 3)
    middle = picture[size[1] // 2]
    assert abs(int(middle[0, 0]) - left) <= 4 and abs(int(middle[-1, 0]) - right) <= 4
    if top is not None:
        assert (picture[:12] == top).all() and (picture[-12:] == top).all()


def test_padding_stays_black_whatever_the_transform(tmp_path):
    Image.new("RGB", (32, 16)).save(tmp_path / "wide.png")
    opened = open_input(str(tmp_path / "wide.png"), "--image")
    fields = entry(tmp_path / "wide.png", fit="pad")
    shown = read_for_clip(opened, fields, Timeline(1, 8.0, 1), (32, 32), lambda frames: 255 - frames)
    assert (shown.pictures[0][8:24] == 255).all() and (shown.pictures[0][:8] == 0).all()


def test_phone_videos_are_upright(video, tmp_path):
    turned = Image.fromarray(np.ascontiguousarray(FRAMES[3][:, :24]))  # 24x32
    turned.save(tmp_path / "phone.jpg", exif=_turned_by(6))
    timeline = open_input(str(tmp_path / "phone.jpg"), "--image").timeline
    assert (timeline.width, timeline.height) == (32, 24)


def _turned_by(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("name", "content", "error", "text"),
    [
        ("none.png", None, NotFound, "no picture or video"),
        ("notes.txt", b"a fox", UsageError, "neither a picture nor a video"),
        ("text.png", b"a fox", UsageError, "cannot read"),
        ("text.mp4", b"a fox", UsageError, "cannot read"),
        ("list.m3u8", b"#EXTM3U", UsageError, "not supported"),
        ("empty", "folder", UsageError, "contains no pictures"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, name, content, error, text):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=text):
        open_input(str(path), "--video")


def test_pictures_of_two_sizes_are_refused(folder):
    Image.new("RGB", (8, 8)).save(folder / "f99.png")
    with pytest.raises(UsageError, match="differ in size"):
        open_input(str(folder), "--video")


@pytest.mark.parametrize("section", ["20", "5-2", "9s"])
def test_a_section_outside_of_the_video_is_refused(video, section):
    with pytest.raises(UsageError):
        placed(video, 4, section=section)
