"""Recommended settings: below the user's own, the motion module's above the image model's."""

import pytest

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.registry.recommend import with_recommended


def _resolved(**values):
    return resolve(with_recommended([Layer("command line", values)]))


def test_the_miniature_brings_its_motion_module_and_size():
    resolved = _resolved(model="pocket")
    assert (resolved.values["motion_module"], resolved.values["width"]) == ("pocket-motion", 128)
    assert resolved.origins["width"] == "recommended for `pocket`"


def test_what_the_user_says_wins():
    resolved = _resolved(model="pocket", width=64, motion_module=None)
    assert (resolved.values["width"], resolved.values["motion_module"]) == (64, None)
    assert resolved.origins["width"] == "command line"


def test_a_few_step_module_brings_its_own_sampler_whatever_the_model_recommends():
    resolved = _resolved(model="toonyou", motion_module="lightning-4")
    assert (resolved.values["steps"], resolved.values["scheduler"]) == (4, "euler")
    assert resolved.origins["steps"] == "recommended for `lightning-4`"
    assert resolved.values["guidance_scale"] == 1


def test_an_older_name_brings_the_same_settings():
    assert _resolved(model="TOONYOU_beta3").values == {**_resolved(model="toonyou").values, "model": "TOONYOU_beta3"}


def test_a_model_named_in_a_lower_layer_counts():
    layers = [Layer("preset `x`", {"model": "pocket"}), Layer("command line", {"steps": 3})]
    resolved = resolve(with_recommended(layers))
    assert (resolved.values["width"], resolved.values["steps"]) == (128, 3)


@pytest.mark.parametrize("model", ["./folder", "nobody-has-this", "hf:org/repo", ""])
def test_what_the_catalog_does_not_know_recommends_nothing(model):
    layers = [Layer("command line", {"model": model})]
    assert with_recommended(layers) == layers
