"""Completion offers the values of options."""

import pytest

from animdiff_cli.cli import complete


@pytest.mark.parametrize(
    ("completion", "typed", "values"),
    [
        (complete.schedulers, "euler", ["euler", "euler-a"]),
        (complete.formats, "g", ["gif"]),
        (complete.presets, "pock", ["pocket"]),
        (complete.models("base"), "pock", ["pocket"]),
        (complete.models("lora"), "pocket-c", ["pocket-crayon"]),
        (complete.models("motion-module"), "mm-v3", ["mm-v3"]),
    ],
)
def test_values_that_begin_as_typed(here, completion, typed, values):
    assert completion(typed) == values


def test_loras_in_the_models_folder_are_offered(here, monkeypatch):
    folder = here / "models" / "lora"
    folder.mkdir(parents=True)
    (folder / "inkwash.safetensors").write_bytes(b"")
    monkeypatch.setenv("ANIMDIFF_MODELS", str(here / "models"))
    assert complete.models("lora")("inkw") == ["inkwash"]


def test_a_broken_catalog_completes_nothing(here, monkeypatch):
    (here / "catalog.yaml").write_text("a: [")
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(here))
    assert complete.models("lora")("x") == []


def test_the_help_of_generate_shows_defaults(animdiff, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for _ in range(2):
        text = animdiff("generate", "--help").stdout
        assert text.count("Denoising steps. Default: 25.") == 1
        assert "Default: ddim." in text and "Default: 512." in text
