"""Recommended settings: user settings override the motion module's, which override the image model's."""

import pytest

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.metadata import metadata_path
from animdiff_cli.registry.recommend import with_recommended


def _resolved(**values):
    return resolve(GenerateConfig, with_recommended([Layer("command line", values)]))


def test_the_bundled_model_recommends_its_motion_module_and_size():
    resolved = _resolved(model="pocket")
    assert (resolved.values["motion_module"], resolved.values["width"]) == ("pocket-motion", 128)
    assert resolved.origins["width"] == "recommended for `pocket`"


def test_user_settings_take_precedence():
    resolved = _resolved(model="pocket", width=64, motion_module=None)
    assert (resolved.values["width"], resolved.values["motion_module"]) == (64, None)
    assert resolved.origins["width"] == "command line"


def test_a_few_step_module_overrides_the_sampler_of_the_image_model():
    resolved = _resolved(model="toonyou", motion_module="lightning-4")
    assert (resolved.values["steps"], resolved.values["scheduler"]) == (4, "euler")
    assert resolved.origins["steps"] == "recommended for `lightning-4`"
    assert resolved.values["guidance_scale"] == 1


def test_another_alias_recommends_the_same_settings():
    assert _resolved(model="TOONYOU_beta3").values == {**_resolved(model="toonyou").values, "model": "TOONYOU_beta3"}


def test_a_model_from_a_lower_layer_recommends_settings():
    layers = [Layer("preset `x`", {"model": "pocket"}), Layer("command line", {"steps": 3})]
    resolved = resolve(GenerateConfig, with_recommended(layers))
    assert (resolved.values["width"], resolved.values["steps"]) == (128, 3)


@pytest.mark.parametrize("model", ["./folder", "nobody-has-this", "hf:org/repo", ""])
def test_a_model_outside_the_catalog_recommends_nothing(model):
    layers = [Layer("command line", {"model": model})]
    assert with_recommended(layers) == layers


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_lightning_recommends_its_steps_and_spacing_without_guidance(steps):
    values = _resolved(model="toonyou", motion_module=f"lightning-{steps}").values
    assert (values["steps"], values["timestep_spacing"], values["guidance_scale"]) == (steps, "trailing", 1)
    assert (values["scheduler"], values["beta_schedule"]) == ("euler", "linear")


def test_animatelcm_recommends_its_lora():
    resolved = _resolved(model="toonyou", motion_module="animatelcm")
    assert resolved.values["loras"] == ("animatelcm-lora@0.8",)
    assert (resolved.values["scheduler"], resolved.values["steps"], resolved.values["guidance_scale"]) == (
        "lcm",
        8,
        1.5,
    )
    assert resolved.origins["loras"] == "recommended for `animatelcm`"


def test_a_few_step_lora_recommends_its_sampler_and_the_motion_module_takes_precedence():
    resolved = _resolved(model="toonyou", loras=["lcm-lora-sd15@0.9"])
    assert (resolved.values["scheduler"], resolved.values["steps"]) == ("lcm", 8)
    assert (
        _resolved(model="toonyou", motion_module="lightning-4", loras=["lcm-lora-sd15"]).values["scheduler"] == "euler"
    )


def test_few_step_presets_match_the_recommended_settings():
    for name, module in (("lcm-8step", "animatelcm"), ("lightning-4step", "lightning-4")):
        preset, recommended = load_preset(name).values, load_catalog().find(module).recommended
        assert {key: preset[key] for key in recommended} == dict(recommended)


@pytest.mark.parametrize(
    ("lora", "name"),
    [
        ("hf:org/repo/style.safetensors@v2", "org--repo--@v2--style.safetensors"),
        ("hf:org/repo/style.safetensors@v2@0.8", "org--repo--@v2--style.safetensors"),
        ("civitai:1@2", "civitai-1-2/style.safetensors"),
        ("civitai:1@2@0.8", "civitai-1-2/style.safetensors"),
        ("./style@2.safetensors@0.8", None),
    ],
)
def test_a_lora_with_a_version_and_a_scale_recommends_settings(tmp_path, monkeypatch, lora, name):
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "other" / name if name else tmp_path / "style@2.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    metadata_path(path).write_text('{"recommended": {"steps": 7}}')
    assert _resolved(loras=[lora]).values["steps"] == 7
    assert _resolved(loras=[{"ref": lora, "scale": 0.5}] if "0.8" not in lora else [lora]).values["steps"] == 7


def test_a_download_source_of_the_catalog_recommends_what_its_alias_does():
    entry = load_catalog().find("lcm-lora-sd15")
    by_source = _resolved(model="toonyou", loras=[f"{entry.sources[0]}@0.8"])
    assert by_source.values["steps"] == _resolved(model="toonyou", loras=["lcm-lora-sd15@0.8"]).values["steps"]
    assert by_source.origins["steps"] == "recommended for `lcm-lora-sd15`"
