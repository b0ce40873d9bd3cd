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
        (complete.fetchable, "motion-m", ["motion-modules"]),
        (complete.fetchable, "pocket", []),  # bundled
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


@pytest.mark.parametrize(
    ("words", "typed", "value"),
    [
        (["models", "show"], "pocket-c", "pocket-crayon"),
        (["models", "path"], "pocket-c", "pocket-crayon"),
        (["models", "verify"], "pocket-c", "pocket-crayon"),
        (["models", "rm"], "pocket-c", "pocket-crayon"),
        (["inspect"], "pocket-c", "pocket-crayon"),
        (["convert"], "pocket-c", "pocket-crayon"),
        (["fetch"], "mm-v3", "mm-v3"),
        (["fetch", "--all-for"], "draf", "draft"),
        (["config", "show", "-m"], "toony", "toonyou"),
        (["train-lora", "-m"], "toony", "toonyou"),
        (["train-lora", "--motion-module"], "mm-v3", "mm-v3"),
        (["train-lora", "--shot"], "pan-l", "pan-left"),
        (["train-lora", "--format"], "pe", "peft"),
        (["train-lora", "--optimizer"], "adamw8", "adamw8bit"),
        (["train-motion", "--motion-version"], "hot", "hotshot"),
        (["train-motion", "--resume-from"], "mm-v3", "mm-v3"),
        (["train-motion", "--domain-adapter"], "v3-a", "v3-adapter"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_the_shell_completes_values(animdiff, monkeypatch, words, typed, value):
    monkeypatch.setenv("_ANIMDIFF_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["animdiff", *words, typed]))
    monkeypatch.setenv("COMP_CWORD", str(len(words) + 1))
    assert value in animdiff().stdout.split()


def test_the_help_of_training_shows_the_defaults_of_its_stage(animdiff, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    steps = {"train-lora": "500", "train-adapter": "500", "train-motion": "10000"}
    rates = {"train-lora": "0.0005", "train-adapter": "0.0001", "train-motion": "0.0001"}
    for command in steps:
        text = animdiff(command, "--help").stdout
        assert f"Optimizer steps. Default: {steps[command]}." in text
        assert f"Learning rate. Default: {rates[command]}." in text
        assert "Steps between sample clips. Default: 0." in text and "Default: False" not in text
        assert text.count("Shorter side of clips in pixels. Default: 256; 512 for SDXL.") == 1


def test_the_help_of_generate_shows_defaults(animdiff, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for _ in range(2):
        text = animdiff("generate", "--help").stdout
        assert text.count("Denoising steps. Default: 25.") == 1
        assert "Default: ddim." in text and "Default: 512." in text
