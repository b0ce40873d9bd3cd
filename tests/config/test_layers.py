"""Merge layers: the highest layer wins, and every value has its source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.config.layers import DEFAULT, Layer, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.errors import UsageError

SETTINGS = settings_of(GenerateConfig)

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.text(max_size=10),
        "motion_module": st.none() | st.sampled_from(["mm-v2", "mm-v3"]),
        "seed": st.integers(0, 2**64 - 1),
        "steps": st.integers(1, 999),
        "fps": st.floats(0.5, 120),
        "width": st.integers(1, 1024).map(lambda cells: cells * 8),
        "dtype": st.sampled_from(["fp16", "bf16"]),
    },
)
LAYERS = st.lists(VALUES, max_size=6).map(lambda all_: [Layer(f"layer {i}", values) for i, values in enumerate(all_)])


@given(LAYERS)
def test_the_highest_layer_that_gives_a_key_wins_and_is_named(layers):
    resolved = resolve(GenerateConfig, layers)
    for key, value in resolved.values.items():
        giving = [layer for layer in layers if key in layer.values]
        expected = (giving[-1].values[key], giving[-1].source) if giving else (SETTINGS[key].field.default, DEFAULT)
        assert (value, resolved.origins[key]) == expected


@given(LAYERS)
def test_values_and_origins_have_the_same_keys_in_the_schemas_order(layers):
    resolved = resolve(GenerateConfig, layers)
    assert list(resolved.values) == list(resolved.origins) == [key for key in SETTINGS if key in resolved.values]


@given(LAYERS)
def test_an_empty_layer_anywhere_changes_nothing(layers):
    half = len(layers) // 2
    assert resolve(GenerateConfig, [*layers[:half], Layer("empty", {}), *layers[half:]]) == resolve(
        GenerateConfig, layers
    )


@given(LAYERS)
def test_resolving_leaves_the_layers_as_they_were(layers):
    before = [dict(layer.values) for layer in layers]
    resolve(GenerateConfig, layers)
    assert [dict(layer.values) for layer in layers] == before


def test_what_is_given_for_one_job_wins_over_every_layer():
    resolved = resolve(GenerateConfig, [Layer("a", {"prompt": "fox", "model": "pocket", "seed": 1})])
    config = resolved.build(prompt="fish", seed=2)
    assert config == GenerateConfig(prompt="fish", model="pocket", seed=2)


@pytest.mark.parametrize("missing", ["prompt", "model", "seed"])
def test_a_missing_setting_is_named(missing):
    values = {"prompt": "fox", "model": "pocket", "seed": 1}
    del values[missing]
    with pytest.raises(UsageError, match=f"no `{missing}` was given"):
        resolve(GenerateConfig, [Layer("a", values)]).build()


def test_a_typo_is_an_error_even_where_a_higher_layer_gives_the_value():
    with pytest.raises(UsageError, match=r"look\.yaml: `steps` must be"):
        resolve(GenerateConfig, [Layer("look.yaml", {"steps": "many"}), Layer("command line", {"steps": 20})])


def test_resolved_values_cannot_be_changed():
    with pytest.raises(TypeError):
        resolve(GenerateConfig, []).values["steps"] = 3
