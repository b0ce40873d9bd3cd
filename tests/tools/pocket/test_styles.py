"""Every style draws the same world visibly otherwise, and its clips can still be followed."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from tools.pocket.calibrate import TRIALS
from tools.pocket.colour import BLACK, mix
from tools.pocket.law_checks import obeys
from tools.pocket.style_reader import draw_styled, read_rightly, train_style_reader
from tools.pocket.styles import BASE_PALETTE, STYLES
from tools.pocket.track import chroma_share
from tools.pocket.world import COLOURS, PLACES, random_scene, render

OTHERS = tuple(name for name in STYLES if name != "base")


def hue(colour):
    """Angle in the plane of BT.601's colour differences, in degrees."""
    red, green, blue = colour
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return math.degrees(math.atan2(0.713 * (red - luma), 0.564 * (blue - luma)))


@pytest.mark.parametrize("style", OTHERS)
def test_every_colour_of_a_style_is_nearest_in_hue_to_its_namesake(style):
    for name, colour in STYLES[style].palette.items():
        apart = {other: abs((hue(colour) - hue(shade) + 180) % 360 - 180) for other, shade in BASE_PALETTE.items()}
        assert min(apart, key=apart.get) == name


@pytest.mark.parametrize(("one", "other"), list(combinations(STYLES, 2)))
def test_two_styles_of_a_scene_are_plainly_different_pictures(one, other):
    scenes = [random_scene(np.random.default_rng(seed), place=place) for seed, place in enumerate(PLACES)]
    first, second = (
        np.concatenate([render(scene, num_frames=1, style=style) for scene in scenes]).astype(int)
        for style in (one, other)
    )
    assert np.abs(first - second).mean() > 10


@pytest.mark.parametrize("kind", ["rocket", "wheel", "star", "bird"])
@pytest.mark.parametrize("style", OTHERS)
def test_clips_of_a_style_obey_by_its_own_palette_and_shuffled_do_not(style, kind):
    rng = np.random.default_rng(8)
    scene = random_scene(rng, kind=kind)
    frames = render(scene, style=style)
    assert obeys(frames, kind, scene.colour, style)
    assert obeys(TRIALS["true, degraded"](scene, frames, rng), kind, scene.colour, style)
    assert not obeys(TRIALS["shuffled"](scene, frames, rng), kind, scene.colour, style)
    assert not obeys(TRIALS["frozen"](scene, frames, rng), kind, scene.colour, style)


@pytest.mark.parametrize("style", OTHERS)
def test_in_no_style_a_place_looks_like_the_colour_of_an_object(style):
    """A scene far outside the frame leaves the bare place."""
    palette = STYLES[style].palette
    for seed, place in enumerate(PLACES):
        away = replace(random_scene(np.random.default_rng(seed), kind="star", place=place), x=9.0)
        bare = render(away, num_frames=1, style=style)[0]
        for colour in COLOURS:
            assert (chroma_share(bare, palette[colour]) > 0.5).mean() < 0.002


@pytest.mark.parametrize("style", OTHERS)
def test_the_patterns_of_a_style_lie_still_and_keep_the_size(style):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    for touch in (STYLES[style].backdrop, STYLES[style].finish):
        assert touch(image).size == image.size
        assert np.array_equal(np.asarray(touch(image)), np.asarray(touch(image)))


def test_the_base_style_outlines_as_it_always_did():
    assert STYLES["base"].outline((226, 38, 44)) == mix((226, 38, 44), BLACK, 0.64)


@pytest.mark.full
def test_a_style_reader_trained_for_a_second_beats_chance_by_far():
    reader = train_style_reader(*draw_styled(200, 1), lambda message: None, epochs=10)
    assert read_rightly(reader, *draw_styled(50, 2)) > 0.5 > 1 / len(STYLES)
