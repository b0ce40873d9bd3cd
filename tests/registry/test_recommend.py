"""Recommended settings: below the user's own, the motion module's above the image model's."""

import pytest

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.presets import load_preset
from animdiff_cli.registry.catalog import load_catalog
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


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_lightning_brings_its_steps_spacing_and_no_guidance(steps):
    values = _resolved(model="toonyou", motion_module=f"lightning-{steps}").values
    assert (values["steps"], values["timestep_spacing"], values["guidance_scale"]) == (steps, "trailing", 1)
    assert (values["scheduler"], values["beta_schedule"]) == ("euler", "linear")


def test_animatelcm_brings_its_lora():
    resolved = _resolved(model="toonyou", motion_module="animatelcm")
    assert resolved.values["loras"] == ("animatelcm-lora@0.8",)
    assert (resolved.values["scheduler"], resolved.values["steps"], resolved.values["guidance_scale"]) == (
        "lcm",
        8,
        1.5,
    )
    assert resolved.origins["loras"] == "recommended for `animatelcm`"


def test_a_lora_of_few_steps_brings_its_sampler_and_the_motion_module_wins():
    resolved = _resolved(model="toonyou", loras=["lcm-lora-sd15@0.9"])
    assert (resolved.values["scheduler"], resolved.values["steps"]) == ("lcm", 8)
    assert (
        _resolved(model="toonyou", motion_module="lightning-4", loras=["lcm-lora-sd15"]).values["scheduler"] == "euler"
    )


def test_a_preset_of_few_steps_says_what_the_catalog_recommends():
    for name, module in (("lcm-8step", "animatelcm"), ("lightning-4step", "lightning-4")):
        preset, recommended = load_preset(name).values, load_catalog().find(module).recommended
        assert {key: preset[key] for key in recommended} == dict(recommended)
