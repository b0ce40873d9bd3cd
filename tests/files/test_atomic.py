"""Atomic writes leave the complete new file or the old one."""

import pytest

from animdiff_cli.files.atomic import atomic_write, atomic_write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as hidden:
        hidden.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale").touch()
    with atomic_write(folder) as hidden:
        hidden.mkdir()
        (hidden / "fresh").touch()
    assert [path.name for path in folder.iterdir()] == ["fresh"]
    assert list(tmp_path.iterdir()) == [folder]


def test_text_is_utf8_and_missing_folders_are_created(tmp_path):
    path = tmp_path / "new" / "a.json"
    atomic_write_text(path, "é\n", newline="\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
