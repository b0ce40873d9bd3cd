"""SSIM and PSNR equal their definitions."""

import math

import numpy as np
import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.metrics.full_reference import psnr, ssim
from animdiff_cli.metrics.temporal import luma


def slow_ssim(one, other):
    """Wang et al. 2004, window by window."""
    x, y = luma(one).astype(float), luma(other).astype(float)
    weights = np.array(
        [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)], dtype=float
    )
    weights /= weights.sum()
    found = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            found.append(
                (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return np.mean(found)


@pytest.fixture
def noisy(texture):
    clip = np.repeat(texture[None, :24, :30], 2, axis=0)
    noise = np.random.default_rng(0).integers(-20, 21, clip.shape)
    return clip, np.clip(clip + noise, 0, 255).astype(np.uint8)


def test_ssim_equals_its_definition(noisy):
    clip, other = noisy
    expected = np.mean([slow_ssim(one, two) for one, two in zip(clip, other, strict=True)])
    assert ssim(clip, other) == pytest.approx(expected, abs=1e-9)
    assert 0.3 < expected < 0.99


def test_ssim_of_flat_frames_is_the_luminance_term():
    dark, light = (np.full((1, 16, 16, 3), level, np.uint8) for level in (100, 120))
    c1 = 2.55**2
    assert ssim(dark, light) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-6)


def test_identical_clips_have_the_best_scores(noisy):
    clip, _ = noisy
    assert ssim(clip, clip) == pytest.approx(1)
    assert psnr(clip, clip) == math.inf


def test_psnr_of_a_constant_error():
    black, grey = np.zeros((3, 12, 12, 3), np.uint8), np.full((3, 12, 12, 3), 5, np.uint8)
    assert psnr(black, grey) == pytest.approx(10 * math.log10(255**2 / 25))


def test_psnr_pools_the_error_of_all_frames():
    black = np.zeros((2, 12, 12, 3), np.uint8)
    half = black.copy()
    half[1] = 10
    assert psnr(black, half) == pytest.approx(10 * math.log10(255**2 / 50))


def test_both_metrics_are_symmetric(noisy):
    clip, other = noisy
    assert ssim(clip, other) == pytest.approx(ssim(other, clip))
    assert psnr(clip, other) == psnr(other, clip)


@pytest.mark.parametrize("measure", [ssim, psnr])
def test_clips_of_different_length_are_refused(noisy, measure):
    clip, _ = noisy
    with pytest.raises(UsageError, match="2 frames of 30x24 pixels and of 1 frame of 30x24") as refusal:
        measure(clip, clip[:1])
    assert "--against" in refusal.value.hint


def test_frames_smaller_than_the_window_are_refused(noisy):
    clip, _ = noisy
    with pytest.raises(UsageError, match="at least 11x11"):
        ssim(clip[:, :10], clip[:, :10])
