from pathlib import Path

import pytest

from animdiff_cli.config.layers import Layer, set_layer
from animdiff_cli.config.train_config import STAGE_DEFAULTS, TrainConfig
from animdiff_cli.config.train_layers import file_layer, resolve_training
from animdiff_cli.errors import UsageError

GIVEN = Layer("command line", {"model": "pocket", "data.videos": "clips"}, {"model": "--model"})


def test_each_stage_has_its_defaults():
    for stage, defaults in STAGE_DEFAULTS.items():
        resolved = resolve_training(stage, [GIVEN])
        assert resolved.config.stage == stage
        for key, value in defaults.items():
            assert resolved.values[key] == value
            assert resolved.origins[key] == f"default of {stage}"


def test_an_unknown_stage_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown stage `lora`") as caught:
        resolve_training("lora", [GIVEN])
    assert caught.value.hint == "one of " + ", ".join(STAGE_DEFAULTS)


def test_flags_win_over_set_over_file_and_every_value_knows_where_it_came_from(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("model: sd15\nsteps: 10\nrank: 8\nlr: 1e-5\ndata:\n  videos: clips\n  fps: 8\n  stride: 2\n")
    layers = [
        file_layer(path),
        set_layer(TrainConfig, ["rank=16", "data.stride=3", "alpha=null"]),
        Layer("command line", {"data.stride": 1}, {"data.stride": "--stride"}),
    ]
    resolved = resolve_training("motion-lora", layers)
    config = resolved.config
    assert (config.steps, config.rank, config.lr) == (10, 16, 1e-5)
    assert (config.data.videos, config.data.fps, config.data.stride) == (Path("clips"), 8.0, 1)
    origins = resolved.origins
    assert origins["steps"] == str(path) and origins["rank"] == "--set"
    assert origins["data.stride"] == "--stride" and origins["batch"] == "default"


def test_the_saved_settings_of_a_run_are_a_file_that_gives_the_same_run(tmp_path):
    import yaml

    config = resolve_training(
        "motion-lora", [GIVEN, set_layer(TrainConfig, ["sample_prompts=a fox", "data.shot=pan-left"])]
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.config.model_dump(mode="json")))
    again = resolve_training("motion-lora", [file_layer(path)]).config
    assert again == config.config and again.sample_prompts == ("a fox",)
    assert isinstance(again, TrainConfig)


@pytest.mark.parametrize(
    ("key", "value", "said", "hint"),
    [
        ("setps", 3, "unknown key `setps`", "`steps`"),
        ("data.size", "257", "multiple of 8", "256"),
        ("steps", "many", "a whole number from 1 up to 100000000", "500"),
        ("optimizer", "adam", "`optimizer`", "adamw"),
        ("data.shot", "pan-rigth", "`data.shot`", "pan-right"),
        ("steps", True, "a whole number from 1 up to 100000000, got `true`", "500"),
        ("lr", "-1", "a number above 0 up to 1, got `-1`", "0.0005"),
    ],
)
def test_an_invalid_value_is_refused_with_its_source_and_a_hint(key, value, said, hint):
    with pytest.raises(UsageError) as refused:
        resolve_training("motion-lora", [GIVEN, Layer("train.yaml", {key: value})])
    assert "train.yaml" in str(refused.value) and said in str(refused.value)
    assert hint in refused.value.hint


def test_what_is_missing_is_named_with_its_flag():
    with pytest.raises(UsageError, match=r"data\.videos") as refused:
        resolve_training("motion-lora", [Layer("x", {"model": "pocket"})])
    assert "--videos" in refused.value.hint
    with pytest.raises(UsageError, match="`model`"):
        resolve_training("motion-lora", [Layer("x", {"data.videos": "clips"})])


def test_a_file_of_another_stage_names_its_command():
    with pytest.raises(UsageError) as refused:
        resolve_training("motion-lora", [GIVEN, Layer("train.yaml", {"stage": "domain-adapter"})])
    assert "train-adapter" in refused.value.hint


@pytest.mark.parametrize("stage", ["motion-lora", "motion-module"])
def test_as_lora_is_refused_outside_the_adapter_stage(stage, tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("as_lora: true\n")
    for layer, origin in ((file_layer(path), str(path)), (set_layer(TrainConfig, ["as_lora=true"]), "--set")):
        with pytest.raises(UsageError) as refused:
            resolve_training(stage, [GIVEN, layer])
        assert str(refused.value).startswith(f"{origin}: `as_lora` has no effect on a {stage}")
        assert "`animdiff train-adapter --as-lora`" in refused.value.hint
    # a flag above the file has the last word, and the settings a run saves hold `false`
    assert not resolve_training(
        stage, [GIVEN, file_layer(path), set_layer(TrainConfig, ["as_lora=false"])]
    ).config.as_lora


def test_as_lora_is_accepted_in_the_adapter_stage():
    assert resolve_training("domain-adapter", [GIVEN, set_layer(TrainConfig, ["as_lora=true"])]).config.as_lora


def test_assignments_without_a_value_are_refused():
    with pytest.raises(UsageError, match="key=value"):
        set_layer(TrainConfig, ["steps"])
