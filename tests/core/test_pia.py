"""The scores of PIA against those of diffusers, which has the published tables."""

import pytest
from diffusers.pipelines.deprecated.pia.pipeline_pia import prepare_mask_coef_by_statistics

from animdiff_cli.core.pia import SCORES, nearest_pictures


@pytest.mark.parametrize("magnitude", [0, 1, 2])
@pytest.mark.parametrize(("variant", "first"), [("animation", 0), ("loop", 3), ("style", 6)])
def test_scores_are_the_published_ones(variant, first, magnitude):
    ours = [score for _, score in nearest_pictures(variant, magnitude, 16, [0])]
    assert ours == pytest.approx(prepare_mask_coef_by_statistics(16, 0, first + magnitude))


@pytest.mark.parametrize("frame", [3, 15])
def test_a_picture_at_another_frame_counts_to_both_sides(frame):
    ours = [score for _, score in nearest_pictures("animation", 2, 16, [frame])]
    assert ours == prepare_mask_coef_by_statistics(16, frame, 2)


def test_a_loop_leads_back_to_its_picture_at_any_length_and_frame():
    for num_frames in (8, 16, 40):
        scores = [score for _, score in nearest_pictures("loop", 1, num_frames, [0])]
        assert scores[0] == scores[-1] == 1
        assert min(scores) == pytest.approx(min(SCORES["loop"][1]), abs=0.02)
        later = [score for _, score in nearest_pictures("loop", 1, num_frames, [5])]
        assert later[5:] + later[:5] == scores


def test_each_frame_is_led_from_the_nearest_picture():
    numbers = [number for number, _ in nearest_pictures("animation", 0, 9, [8, 0])]
    assert numbers == [1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert [number for number, _ in nearest_pictures("loop", 0, 8, [1, 5])] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_clip_of_one_frame_shows_the_picture():
    assert nearest_pictures("loop", 0, 1, [0]) == [(0, 1.0)] == nearest_pictures("animation", 2, 1, [0])
