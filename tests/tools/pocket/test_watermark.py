"""The mark of stock footage is seen where it is, and nowhere else."""

from functools import cache

import numpy as np
import pytest

from tools.pocket.degrade import degrade
from tools.pocket.watermark import mark, visibility
from tools.pocket.world import random_scene, render


@cache
def clips():
    rng = np.random.default_rng(0)
    return [render(random_scene(rng)) for _ in range(24)]


def test_the_mark_is_seen_on_every_place_and_not_where_it_is_not():
    assert all(abs(visibility(mark(frames)) - 1) < 0.1 for frames in clips())
    assert all(abs(visibility(frames)) < 0.1 for frames in clips())


@pytest.mark.full
def test_the_mark_is_still_seen_on_degraded_frames():
    rng = np.random.default_rng(1)
    assert all(visibility(degrade(mark(frames), rng)) > 0.5 for frames in clips())
    assert all(abs(visibility(degrade(frames, rng))) < 0.1 for frames in clips())


def test_a_mark_half_as_strong_is_half_as_visible():
    frames = clips()[0].astype(int)
    faint = ((frames + mark(clips()[0])) / 2).astype(np.uint8)
    assert abs(visibility(faint) - 0.5) < 0.1


def test_the_mark_stays_low_in_the_right_corner():
    changed = (mark(clips()[0]) != clips()[0]).any(axis=(0, 3))
    rows, columns = np.nonzero(changed)
    assert rows.min() > 80
    assert columns.min() > 80


def test_marking_changes_no_frame_in_place():
    frames = clips()[0].copy()
    mark(frames)
    assert np.array_equal(frames, clips()[0])
