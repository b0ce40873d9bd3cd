"""File names chosen by servers are made safe before use."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.remote import disposition_name, require_relative, safe_name


@given(st.text())
def test_a_safe_name_is_one_visible_path_component_on_every_system(text):
    name = safe_name(text)
    assert name
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert not name.startswith(".")
    assert len(name.encode()) <= 180


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("toonyou_beta3.safetensors", "toonyou_beta3.safetensors"),
        ("../../x", "x"),
        ("..\\..\\x.ckpt", "x.ckpt"),
        ("/etc/passwd", "passwd"),
        ("a\x00b\n.ckpt", "a_b_.ckpt"),
        (".bashrc", "bashrc"),
        ("", "model"),
        ("../..", "model"),
        ("é" * 200 + ".safetensors", "é" * 84 + ".safetensors"),
    ],
)
def test_makes_file_names_safe(wanted, name):
    assert safe_name(wanted) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.ckpt"', "a b.ckpt"),
        ("attachment; filename=a.ckpt; size=5", "a.ckpt"),
        ("attachment; filename*=UTF-8''a.ckpt", "a.ckpt"),
        ("inline", None),
        (None, None),
    ],
)
def test_parses_the_file_name_of_content_disposition(header, name):
    assert disposition_name(header) == name


@pytest.mark.parametrize("path", ["../x", "unet/../../x", "/etc/passwd", "a\\b", "C:/x", "", "./x"])
def test_refuses_repository_paths_that_point_outside(path):
    with pytest.raises(IntegrityError, match="refused"):
        require_relative(path)


def test_keeps_folders_of_repository_paths():
    assert require_relative("unet/config.json") == "unet/config.json"
