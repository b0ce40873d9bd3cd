"""The table of model parts: consistent in itself, and as diffusers lists them."""

from typing import get_args

import pytest

from animdiff_cli.core.model_parts import BASES, MODEL_PARTS, NETWORKS, PartName, networks_of, parts_of, tokenizers_of
from animdiff_cli.weights.model_configs import shipped_config


def test_every_name_has_one_entry():
    assert [part.name for part in MODEL_PARTS] == sorted(
        (part.name for part in MODEL_PARTS), key=get_args(PartName).index
    )
    assert {part.name for part in MODEL_PARTS} == set(get_args(PartName))


@pytest.mark.parametrize("base", BASES)
def test_a_base_has_the_parts_of_its_model_index(base: str):
    listed = {
        name for name, value in shipped_config(base, "model_index").items() if isinstance(value, list) and all(value)
    }

    assert {part.name for part in parts_of(base)} == listed - {"safety_checker", "feature_extractor", "image_encoder"}


@pytest.mark.parametrize("base", BASES)
def test_every_text_encoder_has_a_tokenizer_of_the_same_base(base: str):
    encoders = [name for name in networks_of(base) if name.startswith("text_encoder")]

    assert [name.replace("text_encoder", "tokenizer") for name in encoders] == list(tokenizers_of(base))
    assert {*networks_of(base), *tokenizers_of(base), "scheduler"} == {part.name for part in parts_of(base)}


def test_sdxl_has_every_network():
    assert networks_of("sdxl") == NETWORKS
