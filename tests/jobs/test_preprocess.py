"""Preprocessors draw what networks were trained with, and control pictures are recognised."""

import sys

import numpy as np
import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.preprocess import FILTERS, expected_by, looks_like_map, preprocessor

SIDE = 64


def square(left=16, colour=255):
    """A square of 32 pixels on black, uint8 [64, 64, 3]."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[16:48, left : left + 32] = colour
    return frame


def line():
    """A black line on white."""
    frame = np.full((SIDE, SIDE, 3), 255, np.uint8)
    frame[30:33] = 0
    return frame


def made(name, *frames):
    return preprocessor(name)(np.stack(frames))


def test_canny_draws_the_outline_alone():
    edges = made("canny", square())[0]
    assert set(np.unique(edges)) == {0, 255}
    assert not edges[24:40, 24:40].any() and not edges[:8].any()
    assert edges[14:18, 20:44].max(axis=(0, 2)).all()  # the upper side, without a gap


@pytest.mark.parametrize("name", ["lineart", "scribble"])
def test_dark_lines_become_white_on_black(name):
    drawn = made(name, line())[0]
    assert drawn[31].min() > 100 and drawn[:16].max() == 0
    assert not made(name, np.full((SIDE, SIDE, 3), 200, np.uint8)).any()


def test_blur_keeps_the_brightness_and_removes_edges():
    blurred = made("blur", np.repeat(np.repeat(square(), 8, 0), 8, 1))[0]
    assert abs(int(blurred.mean()) - square().mean()) < 2
    assert np.abs(np.diff(blurred[256, :, 0].astype(int))).max() < 40


def test_luminance_is_the_grey_of_a_colour():
    grey = made("luminance", square(colour=(0, 255, 0)))[0]
    assert tuple(grey[30, 30]) == (150, 150, 150)


def test_invert_is_its_own_inverse():
    assert (255 - made("invert", square()) == square()).all()


def test_none_and_auto_leave_frames_as_they_are():
    frames = np.stack([square(), line()])
    assert preprocessor("none")(frames) is frames and preprocessor("auto")(frames) is frames


def test_flow_shows_direction_as_hue_across_chunks():
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    right, down = np.roll(still, 2, axis=1), np.roll(still, 2, axis=0)
    flow = preprocessor("flow")
    first, moved = flow(np.stack([still, right]))
    assert not first.any()
    middle = np.median(moved[16:48, 16:48].reshape(-1, 3), axis=0)
    assert middle[0] > 100 and middle[0] > middle[1] + 60  # to the right: red
    flow(still[None])
    lower = np.median(flow(down[None])[0, 16:48, 16:48].reshape(-1, 3), axis=0)
    assert lower[1] > lower[2] + 60  # down: green and yellow


@pytest.mark.parametrize("name", [*FILTERS, "flow", "invert"])
def test_frames_keep_their_shape_and_the_source_its_pixels(name):
    frames = np.stack([square(), square(20)])
    before = frames.copy()
    assert preprocessor(name)(frames).shape == frames.shape
    assert (frames == before).all()


def test_control_pictures_are_recognised():
    edges, photo = (
        made("canny", square())[0],
        np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
    )
    pose = np.zeros((SIDE, SIDE, 3), np.uint8)
    pose[20:40, 30:34] = (255, 0, 85)
    depth = np.repeat(np.linspace(0, 255, SIDE).astype(np.uint8)[:, None, None], SIDE, 1).repeat(3, 2)
    normals = np.full((SIDE, SIDE, 3), (128, 128, 255), np.uint8)
    pictures = {"edges": edges, "pose": pose, "depth": depth, "photo": photo, "line": line(), "normals": normals}

    def recognised(expected):
        return [name for name, picture in pictures.items() if looks_like_map(picture, expected)]

    assert recognised("canny") == recognised("scribble") == ["edges"]  # a black line on white is none
    assert recognised(None) == ["edges", "pose", "depth", "line"]
    assert recognised("luminance") == recognised("depth") == ["edges", "depth", "line"]
    assert recognised("openpose") == ["edges", "pose"] and recognised("softedge") == ["edges"]
    assert recognised("normal") == ["normals"]
    assert recognised("flow") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("controlnet-canny", "canny"),
        ("control_v11p_sd15_lineart.pth", "lineart"),
        ("control_v11f1e_sd15_tile", "none"),
        ("v3_sd15_sparsectrl_scribble.ckpt", "scribble"),
        ("diffusers_xl_depth_full", "depth"),
        ("control_v11p_sd15_openpose.pth", "openpose"),
        ("control_v11p_sd15_softedge", "softedge"),
        ("control_v11p_sd15_normalbae.pth", "normal"),
        ("control_v11p_sd15_mlsd", "mlsd"),
        ("control_v11p_sd15_seg", None),
        ("sd-controlnet-hed", "softedge"),
        ("OpenPoseXL2.safetensors", "openpose"),
        ("my_poses", "openpose"),
        ("control_densepose", None),
        ("polished-general-purpose_normalized", "auto"),
        ("my-network", "auto"),
    ],
)
def test_the_name_of_a_network_tells_what_it_expects(name, expected):
    assert expected_by(name) == expected


def test_without_opencv_the_hint_is_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="`canny` needs") as refusal:
        preprocessor("canny")
    assert refusal.value.hint == "pip install 'animdiff[control]'"
