"""The table of settings that name weights, against everything that reads it."""

from dataclasses import fields
from typing import get_args

import pytest
from typer.main import get_command

from animdiff_cli.cli import app
from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.load import flag_name, flag_names
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, refs_in
from animdiff_cli.core.choices import Kind
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.weight_files import Weights
from animdiff_cli.registry.store import KIND_FLAGS


@pytest.mark.parametrize("key", WEIGHT_SETTINGS)
def test_every_row_has_its_field_flag_files_and_recipe_entry(key, tmp_path):
    row, setting = WEIGHT_SETTINGS[key], settings_of(GenerateConfig)[key]
    assert setting.reference is not None
    assert (setting.is_list, setting.record) == (row.is_list, row.record)
    parameters = {parameter.name: parameter for parameter in get_command(app).commands["generate"].params}
    parameter = parameters[flag_names()[key]]
    assert row.flag in parameter.opts and flag_name(key) == KIND_FLAGS[row.kind] == row.flag
    if key != "motion_module":  # its flag is also that of several
        assert parameter.multiple == row.is_list
        assert ("@" in parameter.metavar) == (row.record is not None)
    assert key in {field.name for field in fields(Weights)}
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"x")
    values = {"model": file, key: (file,) if row.is_list else file}
    assert key in Weights(**values).hashes()


def test_every_setting_that_names_weights_has_its_row():
    named = {key for key, setting in settings_of(GenerateConfig).items() if setting.reference}
    assert named == set(WEIGHT_SETTINGS)
    assert {row.kind for row in WEIGHT_SETTINGS.values()} <= set(get_args(Kind))


@pytest.mark.parametrize(
    ("key", "value", "refs"),
    [
        ("loras", ["a@0.5", {"ref": "b", "scale": 1}, 5, {"scale": 1}], ["a", "b"]),
        ("loras", "civitai:1@2@0.5", ["civitai:1@2"]),
        ("domain_adapter", "a@0.5", ["a"]),
        ("model", "./look@2", ["./look@2"]),
        ("vae", None, []),
        ("embeddings", ("a", "b"), ["a", "b"]),
        ("controls", ["a=dance.mp4@0.5", {"ref": "b", "source": "c.png"}], ["a", "b"]),
        ("controls", ["https://host/x.pth?type=a=dance.mp4"], ["https://host/x.pth?type=a"]),
    ],
)
def test_references_are_read_from_any_form(key, value, refs):
    assert refs_in(WEIGHT_SETTINGS[key], value) == refs


@pytest.mark.parametrize(
    "values",
    [
        {"model": "https://host/x.ckpt?token=SECRET"},
        {"model": "a", "loras": ["https://host/x.ckpt?token=SECRET@0.5"]},
        {"model": "a", "loras": [{"ref": "https://host/x.ckpt?token=SECRET", "scale": 0.5}]},
        {"model": "a", "embeddings": ["https://me:SECRET@host/x.pt"]},
        {"model": "a", "controls": ["https://me:SECRET@host/x.pth=dance.mp4"]},
    ],
)
def test_credentials_in_a_url_are_refused_before_they_are_shown(values):
    with pytest.raises(UsageError, match="contains credentials") as refusal:
        resolve(GenerateConfig, [Layer("command line", values)])
    assert "SECRET" not in f"{refusal.value} {refusal.value.hint}"
