"""Cuts are detected to the frame; motion and repeated frames are not cuts."""

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.training.data import decode
from animdiff_cli.training.data.media import Media
from animdiff_cli.training.data.scene_detection import HEIGHT, WIDTH, FrameChanges, find_cuts


def cuts_of(path):
    return decode.probe(Media(path.name, path, "video")).cuts


def cuts_in(frames):
    changes = FrameChanges()
    for frame in frames:
        changes.add(np.asarray(Image.fromarray(frame).resize((WIDTH, HEIGHT), Image.Resampling.BOX)))
    return find_cuts(changes.levels, changes.colors)


@pytest.fixture(scope="module")
def street(real):
    """Decode two small scenes of the street: uint8 `[60, 68, 160, 3]`, the second from frame 30."""
    media = Media("bikes", real("bikes"), "video")
    return decode.read_frames(media, decode.probe(media), range(60), (160, 68))


def test_cuts_of_a_real_video_are_exact_to_the_frame(real):
    assert cuts_of(real("bikes")) == (30, 76, 137, 187, 242)


@pytest.mark.parametrize("name", ["bigbuckbunny", "carphone_pristine"])
def test_a_real_scene_without_a_cut_has_no_cuts(real, name):
    assert cuts_of(real(name)) == ()


def test_the_cut_between_two_joined_videos_is_detected(real, tmp_path, ffmpeg):
    joined = tmp_path / "joined.mp4"
    parts = ["-t", "2", "-i", real("carphone_pristine"), "-t", "2", "-i", real("bigbuckbunny")]
    equal = ";".join(f"[{n}:v]scale=176:144,setsar=1,fps=25[v{n}]" for n in (0, 1))
    ffmpeg(*parts, "-filter_complex", f"{equal};[v0][v1]concat[v]", "-map", "[v]", "-preset", "ultrafast", joined)
    assert cuts_of(joined) == (50,)


def test_a_fast_pan_is_not_a_cut(street):
    still = np.tile(street[0], (1, 3, 1))
    assert cuts_in([still[:, 8 * step : 8 * step + 160] for step in range(30)]) == ()


def test_a_camera_that_starts_to_move_is_not_a_cut(street):
    still = np.tile(street[0], (1, 3, 1))
    ways = [0] * 10 + [step * step for step in range(12)]
    assert cuts_in([still[:, way : way + 160] for way in ways]) == ()


def test_repeated_frames_change_no_cuts(street):
    assert cuts_in(street) == (30,)
    assert cuts_in(np.repeat(street, 2, axis=0)) == (60,)


def test_a_cut_between_scenes_of_the_same_colors_is_detected(street):
    assert cuts_in([*street[:15], *street[15:30, ::-1, ::-1]]) == (15,)


def test_constant_frames_have_no_cuts(street):
    assert cuts_in([street[0]] * 20) == ()
    assert cuts_in([street[0]]) == ()
