import hashlib

from animdiff_cli.jobs.batch.stamps import is_whole, stamp


def test_a_file_is_whole_until_it_is_changed_or_removed(tmp_path):
    clip = tmp_path / "a" / "clip.gif"
    clip.parent.mkdir()
    clip.write_bytes(b"frames")
    made = stamp(tmp_path, "a/clip.gif")
    assert (made.path, made.bytes, made.sha256) == ("a/clip.gif", 6, hashlib.sha256(b"frames").hexdigest())
    assert is_whole(tmp_path, made)
    clip.write_bytes(b"Frames")
    assert not is_whole(tmp_path, made)
    clip.unlink()
    assert not is_whole(tmp_path, made)


def test_a_folder_of_frames_is_whole_until_a_file_is_changed_added_or_removed(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for name in ("0.png", "1.png", "recipe.json"):
        (folder / name).write_bytes(name.encode())
    made = stamp(tmp_path, "clip")
    assert made.bytes == 5 + 5 + 11 and is_whole(tmp_path, made)
    (folder / "0.png").rename(folder / "2.png")
    assert not is_whole(tmp_path, made)
    (folder / "2.png").rename(folder / "0.png")
    assert is_whole(tmp_path, made)
    (folder / "3.png").touch()
    assert not is_whole(tmp_path, made)
