"""Settings of a data set: ranges as people type them, and combinations that cannot be meant."""

import pytest
from pydantic import ValidationError

from animdiff_cli.config.data_config import DEFAULT_SPEED, DataConfig


def made(**given):
    return DataConfig(videos="clips", **given)


@pytest.mark.parametrize("typed", [(0.2, 0.5), [0.2, 0.5], "0.2-0.5", "0.2,0.5", "0.2 .. 0.5", ("0.2-0.5",)])
def test_a_speed_range_may_be_typed_in_several_ways(typed):
    assert made(shot="pan-left", shot_speed=typed).shot_speed == (0.2, 0.5)


@pytest.mark.parametrize("typed", [0.4, "0.4", (0.4,), [0.4]])
def test_a_single_speed_is_a_range_of_one(typed):
    assert made(shot="pan-left", shot_speed=typed).shot_speed == (0.4, 0.4)


@pytest.mark.parametrize("typed", ["fast", "0.1-0.2-0.3", "0", 3, True, "0.5-0.2"])
def test_a_speed_that_is_none_is_refused(typed):
    with pytest.raises(ValidationError):
        made(shot="pan-left", shot_speed=typed)


def test_what_would_have_no_effect_is_refused():
    with pytest.raises(ValidationError, match="no effect without `shot`"):
        made(shot_speed=0.4)
    with pytest.raises(ValidationError, match="no effect without `shot`"):
        made(shot_easing="smooth")


def test_a_move_takes_more_than_one_frame():
    with pytest.raises(ValidationError, match="at least 2"):
        made(shot="pan-left", num_frames=1)


@pytest.mark.parametrize("wrong", [{"size": 100}, {"stride": 0}, {"shot": "dolly"}, {"limit": 0}, {"colour": "red"}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        made(**wrong)


def test_the_defaults_are_the_published_recipe():
    config = made()
    assert (config.num_frames, config.stride, config.size) == (16, 4, 256)
    assert (config.shot, config.shot_speed, config.horizontal_flip) == (None, DEFAULT_SPEED, False)


def test_it_survives_json():
    config = made(shot="roll-cw", shot_speed="0.2-0.5", caption="a fox", fps=8)
    assert DataConfig.model_validate_json(config.model_dump_json()) == config
