import numpy as np
import pytest

from animdiff_cli.training.appearance_leak import measure_leak, similarity


def picture(colour, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, 20, (32, 32, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def test_unchanged_stills_have_no_leak():
    stills = [picture((200, 40, 40), seed) for seed in range(3)]
    report = measure_leak(stills, stills, [picture((40, 200, 40))])
    assert report.similarity == pytest.approx(1.0)
    assert report.leaked == 0 and report.stills == 3


def test_stills_with_the_colors_of_the_clips_have_a_leak():
    clips = [picture((40, 200, 40), seed) for seed in range(4)]
    before = [picture((200, 40, 40), seed) for seed in range(3)]
    after = [np.where(np.arange(32)[None, :, None] < 16, still, clips[0]) for still in before]
    report = measure_leak(before, after, clips)
    assert report.leaked > 0.3
    assert report.similarity < 0.9
    assert set(report.record()) >= {"similarity", "leaked", "towards_clips_before", "towards_clips_after"}


def test_similarity_is_one_for_equal_and_low_for_unrelated_pictures():
    a, b = picture((100, 100, 100), 1), picture((100, 100, 100), 2)
    assert similarity(a, a) == pytest.approx(1.0)
    assert abs(similarity(a, b)) < 0.3
    flat = np.full((8, 8, 3), 7, np.uint8)
    assert similarity(flat, flat) == 1.0
