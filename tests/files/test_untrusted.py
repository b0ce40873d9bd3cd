"""Untrusted JSON: only regular files of limited size and depth are read."""

import os

import pytest

from animdiff_cli.files.untrusted import parse_json, read_bytes, read_json


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 101 + "]" * 101, "9" * 5000, b"\xff\xfe", "{", ""])
def test_invalid_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_pipes_devices_and_large_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"0" * 11)
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path / "large"):
        with pytest.raises(ValueError, match=r"regular|larger"):
            read_bytes(type(tmp_path)(path), max_bytes=10)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
