"""Optical flow, warp error and dynamic degree of clips with known motion."""

import sys

import numpy as np
import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.flow import dynamic_degree, flow_pairs, warp_error


def pairs(frames):
    return list(flow_pairs(frames))


def test_flow_equals_the_displacement(filmed):
    (pair,) = pairs(filmed(2, right=3, down=-2))
    assert np.median(pair.forward[..., 0]) == pytest.approx(3, abs=0.05)
    assert np.median(pair.forward[..., 1]) == pytest.approx(-2, abs=0.05)
    assert np.median(pair.backward[..., 0]) == pytest.approx(-3, abs=0.05)


def test_pure_translation_has_almost_no_warp_error(filmed):
    (pair,) = pairs(filmed(2, right=4, down=1))
    assert warp_error(pair) < 2e-5


def test_a_jump_in_brightness_is_warp_error(flickering):
    for levels in (5, 10):
        errors = [warp_error(pair) for pair in pairs(flickering(levels, 3))]
        assert errors == pytest.approx([(levels / 255) ** 2] * 2, rel=0.05)


def test_independent_noise_is_warp_error(texture):
    rng = np.random.default_rng(0)
    still = np.clip(texture[:64, :64].astype(float), 40, 215)
    clip = np.stack([still + rng.normal(0, 4, still.shape) for _ in range(2)]).round().astype(np.uint8)
    (pair,) = pairs(clip)
    # the difference of two noises has twice the variance; flow follows a little of it
    assert warp_error(pair) == pytest.approx(2 * 16 / 255**2, rel=0.25)


def test_occluded_pixels_do_not_count(texture):
    ground = np.repeat(texture[None, :96, :96], 2, axis=0)
    clip = ground.copy()
    patch = 255 - texture[100:130, 100:130]
    clip[0, 30:60, 20:50], clip[1, 30:60, 28:58] = patch, patch
    (pair,) = pairs(clip)
    seen = pair.visible()
    assert seen[:20].mean() > 0.95
    assert seen[32:58, 52:56].mean() < 0.3, "the strip that the patch moves over is gone in the next frame"
    whole = np.square((clip[1].astype(float) - clip[0]) / 255).mean()
    assert warp_error(pair) < whole / 50


def test_dynamic_degree_is_the_speed_relative_to_the_shorter_side(filmed):
    (pair,) = pairs(filmed(2, size=128, right=3, down=4))
    assert dynamic_degree(pair) == pytest.approx(5 / 128, rel=0.06)


def test_a_still_clip_has_no_motion_and_no_warp_error(texture):
    still = np.repeat(texture[None, :64, :64], 2, axis=0)
    (pair,) = pairs(still)
    assert dynamic_degree(pair) == 0
    assert warp_error(pair) == 0


def test_dynamic_degree_measures_the_fastest_part(texture):
    clip = np.repeat(texture[None, :128, :128], 2, axis=0).copy()
    patch = texture[140:180, 140:180]
    clip[0, 40:80, 40:80], clip[1, 40:80, 44:84] = patch, patch
    (pair,) = pairs(clip)
    assert dynamic_degree(pair) == pytest.approx(4 / 128, rel=0.35)


def test_frames_too_small_for_flow_are_refused():
    with pytest.raises(UsageError, match="15x64 pixels"):
        pairs(np.zeros((2, 64, 15, 3), np.uint8))


def test_missing_opencv_is_reported_with_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="OpenCV") as refusal:
        pairs(np.zeros((2, 32, 32, 3), np.uint8))
    assert refusal.value.hint == "pip install 'animdiff[eval]'"
