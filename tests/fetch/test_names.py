"""File names chosen by servers are made safe before use."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.fetch.names import disposition_name, download_name, safe_name
from animdiff_cli.registry.model_dirs import is_companion_file


@given(st.text())
def test_a_safe_name_is_one_visible_path_component_on_every_system(text):
    name = safe_name(text)
    assert name
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert not name.startswith(".")
    assert len(name.encode()) <= 182
    assert name.isprintable()
    assert not is_companion_file(name)


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
        ("model.json", "model.json_"),
        ("X.PART", "X.PART_"),
        ("CON.safetensors", "_CON.safetensors"),
        ("a\u202e\x1b[2J.ckpt", "a__[2J.ckpt"),
        (". .", "model"),
        ("a." + "b" * 300, "a." + "b" * 178),
        ("x" * 179 + " .ckpt", "x" * 175 + ".ckpt"),
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
        ("attachment; filename*=UTF-8'en'na%C3%AFve%20file.ckpt; filename=naive.ckpt", "naïve file.ckpt"),
        ("attachment; filename=naive.ckpt; FileName*=utf-8''na%c3%afve.ckpt", "naïve.ckpt"),
        ("attachment; filename*=iso-8859-1''na%EFve.ckpt", "naïve.ckpt"),
        ("attachment; filename*=klingon''x.ckpt; filename=y.ckpt", "y.ckpt"),
        ("attachment; filename*=UTF-8''%FF; filename=y.ckpt", "y.ckpt"),
        ("attachment; filename*=y.ckpt; filename=z.ckpt", "z.ckpt"),
        (r'attachment; filename="say \"hi\" \\ now.ckpt"', r'say "hi" \ now.ckpt'),
        (r'attachment; filename="C:\models\x.ckpt"', r"C:\models\x.ckpt"),
        ('attachment; filename="a;b=c.ckpt"; size=5', "a;b=c.ckpt"),
        ('attachment; name="filename=x"; filename="y.ckpt"', "y.ckpt"),
        ('attachment;filename = "y.ckpt"', "y.ckpt"),
        ('ATTACHMENT; FILENAME="y.ckpt"', "y.ckpt"),
        ('filename="y.ckpt"', "y.ckpt"),
        ('attachment; filename="unterminated.ckpt', "unterminated.ckpt"),
        ("attachment; filename=two words.ckpt", "two words.ckpt"),
        ('attachment; filename="na\u00c3\u00afve.ckpt"', "naïve.ckpt"),  # UTF-8, read as Latin-1
        ('attachment; filename="na\u00efve.ckpt"', "naïve.ckpt"),
        ('attachment; filename=""', None),
        ("attachment; filename=", None),
        ("attachment; filename*=UTF-8''", None),
        ("", None),
        ("inline", None),
        (None, None),
    ],
)
def test_parses_the_file_name_of_content_disposition(header, name):
    assert disposition_name(header) == name


@given(st.text())
def test_any_header_gives_a_name_or_none(header):
    assert disposition_name(header) != ""


@pytest.mark.parametrize(
    ("suggestions", "name"),
    [
        (["a.ckpt", "b.safetensors"], "a.ckpt"),
        (["download", "/d/b.safetensors"], "b.safetensors"),
        ([None, "/d/download"], "download"),
        (["..", "/"], "model"),
        ([None, ""], "model"),
    ],
)
def test_a_suggestion_with_a_weight_suffix_is_preferred(suggestions, name):
    assert download_name(suggestions) == name
