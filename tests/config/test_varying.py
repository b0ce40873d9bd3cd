"""Settings that hold a value or a track: from YAML, text and Python, through layers into a record and a recipe."""

from typing import Annotated

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from animdiff_cli.config.layers import Layer, keyword_layer, resolve, set_layer
from animdiff_cli.config.load import env_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.values import check_value
from animdiff_cli.config.varying import Varying
from animdiff_cli.config.yamlfile import parse_yaml
from animdiff_cli.core.curves import Curve, TextTrack
from animdiff_cli.errors import UsageError

CURVE = Curve.parse("0:1,50%:5")
CLIP = {"prompt": "a fox", "model": "pocket", "seed": 1}


class Look(BaseModel):
    """A record with a text that may vary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: Annotated[str | TextTrack, Varying(Annotated[str, Field(max_length=5)])] = Field("day", description="Words.")


def config(**changes):
    return GenerateConfig(**CLIP, **changes)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("look.yaml", parse_yaml("guidance_scale: {0: 1, 50%: 5}", "look.yaml")),
        Layer("look.yaml", parse_yaml("guidance_scale: '0:1,50%:5'", "look.yaml")),
        Layer("recipe", {"guidance_scale": {"0": 1.0, "50%": 5.0}}),
        set_layer(GenerateConfig, ["guidance_scale=0:1, 50%:5"]),
        env_layer({"ANIMDIFF_GUIDANCE_SCALE": "0:1,50%:5"}),
        keyword_layer({"guidance_scale": {0: 1, "50%": 5}}),
        keyword_layer({"guidance_scale": CURVE}),
    ],
)
def test_every_source_of_settings_takes_a_curve(layer):
    assert resolve(GenerateConfig, [layer]).values["guidance_scale"] == CURVE


def test_a_number_stays_a_number():
    for value in (5, 5.0, "5"):
        assert check_value(GenerateConfig, "guidance_scale", value, "test") == 5.0
    assert config(guidance_scale=5).model_dump(mode="json")["guidance_scale"] == 5.0


@pytest.mark.parametrize("text", ["0:1,50%:5", "steps:0:9,50%:5", "0-4:2,-1:1.5"])
def test_a_recipe_holds_a_mapping_that_reads_as_the_same_curve(text):
    before = config(guidance_scale=text)
    assert isinstance(before.model_dump(mode="json")["guidance_scale"], dict)
    assert GenerateConfig.model_validate_json(before.model_dump_json()) == before
    dumped = yaml.safe_dump(before.model_dump(mode="json"), sort_keys=False)
    assert resolve(GenerateConfig, [Layer("recipe", parse_yaml(dumped, "recipe"))]).config == before
    assert hash(before) == hash(config(guidance_scale=text))


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("much", "must be a number from 0 up to 100, or a curve as in `0:1,50%:2`, got `much`", "`7.5`"),
        ("0:1,50%:200", "src: `guidance_scale.50%` must be a number from 0 up to 100, got `200`", "`7.5`"),
        ("0:nan", "`guidance_scale.0` must be a number from 0 up to 100, got `nan`", "`7.5`"),
        ({0: float("inf")}, "`guidance_scale.0` must be a number from 0 up to 100, got `inf`", "`7.5`"),
        ({0: True}, "`guidance_scale.0` must be a number from 0 up to 100, got `true`", "`7.5`"),
        ({0: {1: 2}}, "`guidance_scale.0` must be a number", "give one value"),
        ({0: 1, "0": 2}, "src: `guidance_scale`: a position is given twice", "leave one of them out"),
        ({"noon": 1}, "src: `guidance_scale`: `noon` is not a position in a clip", "per cent `50%`"),
        ({0.5: 1}, "`0.5` is not a position", "per cent"),
        ({}, "`guidance_scale`: it has no positions", "`{0: …, 50%: …}`"),
    ],
)
def test_a_wrong_curve_is_refused_by_place_key_and_what_is_allowed(value, message, hint):
    with pytest.raises(UsageError) as refusal:
        check_value(GenerateConfig, "guidance_scale", value, "src")
    assert message in str(refusal.value)
    assert hint in refusal.value.hint


@pytest.mark.parametrize("value", ["0:1,50%:3", {0: 1, "50%": 3}])
@pytest.mark.parametrize("key", ["steps", "num_frames", "fps", "seed", "scheduler"])
def test_a_curve_is_refused_for_what_cannot_vary(key, value):
    with pytest.raises(UsageError, match=f"`{key}` must be") as refusal:
        check_value(GenerateConfig, key, value, "src")
    assert refusal.value.hint == "give one value: this does not vary over a clip"


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ("0:1,16:2", "`guidance_scale`: there is no frame 16: the clip has 16 frames"),
        ("0:1,2.5s:2", "`guidance_scale`: `2.5s` is after the end of the clip"),
        ("50%:1,3:2", "`guidance_scale`: `3` comes after `50%`"),
        ("steps:25:2", "`guidance_scale`: there is no step 25: the sampler has 25 steps"),
    ],
)
def test_positions_are_checked_with_the_other_settings(curve, message):
    with pytest.raises(UsageError, match=message):
        resolve(GenerateConfig, [Layer("flags", CLIP | {"guidance_scale": curve})]).build()


def test_guidance_is_on_if_any_value_of_its_curve_is_above_one():
    assert [config(guidance_scale=scale).has_guidance for scale in (1, 1.5, "0:0,50%:1", "0:0,50%:1.5")] == [
        False, True, False, True,
    ]  # fmt: skip


def test_a_text_may_vary_over_frames():
    read = check_value(Look, "words", {0: "day", "50%": "night"}, "test")
    assert read == TextTrack.of({"0": "day", "50%": "night"})
    assert Look(words=read).model_dump(mode="json") == {"words": {"0": "day", "50%": "night"}}
    assert Look.model_validate({"words": {"0": "day", "50%": "night"}}).words == read
    assert check_value(Look, "words", "0:1,5", "test") == "0:1,5"  # text is never read as a track
    assert settings_of(Look)["words"].allowed == "text, or by position as in `{0: one text, 50%: another}`"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({0: "day", 1: 7}, "`words.1` must be text, got `7`"),
        ({0: "evening"}, "`words.0` has 7 characters, and at most 5 are allowed"),
        ({"steps 0": "day"}, "`words`: a text varies over frames, not over steps"),
        ({0: None}, "`words.0` must be text, got `null`"),
        (["day"], "`words` must be text, or by position"),
    ],
)
def test_a_wrong_track_of_texts_is_refused(value, message):
    with pytest.raises(UsageError, match="src: ") as refusal:
        check_value(Look, "words", value, "src")
    assert message in str(refusal.value)
    assert refusal.value.hint
