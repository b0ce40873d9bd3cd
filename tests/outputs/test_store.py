"""Clips that are written to a storage system: whole, never over another file, and kept if they cannot be uploaded."""

import numpy as np
import pytest

from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import NetworkError, UsageError
from animdiff_cli.files.os_errors import temporary_folder
from animdiff_cli.outputs import read_recipe, store_clip
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.storage import outputs
from animdiff_cli.storage.failures import storage_failures
from animdiff_cli.storage.inputs import local_copy, local_input
from animdiff_cli.storage.location import location
from animdiff_cli.storage.objects import list_files, upload


@pytest.fixture
def store(make_clip, bucket):
    """Write a clip of some frames to a name in a bucket, and return its URL."""

    def write(name, format="gif", frames=2, seed=7, **more):
        return str(store_clip(make_clip(frames), 8, location(f"{bucket}/{name}"), format, {"seed": seed}, **more))

    return write


def names(url):
    return sorted(list_files(location(url)))


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_uploaded_as_it_is_written_locally(format, store, bucket, make_clip, tmp_path):
    name = f"night/fox{FORMATS[format].suffix}"
    assert store(name, format) == f"{bucket}/{name}"
    here = tmp_path / f"fox{FORMATS[format].suffix}"
    store_clip(make_clip(2), 8, here, format, {"seed": 7})
    with local_copy(location(f"{bucket}/{name}")) as copy:
        assert read_recipe(copy) == read_recipe(here) == {"animdiff": 1, "seed": 7}
        pairs = zip(sorted(copy.iterdir()), sorted(here.iterdir()), strict=True) if copy.is_dir() else [(copy, here)]
        assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)
    assert not copy.exists()


def test_an_existing_clip_is_replaced_only_if_asked_to(store, bucket):
    assert [store("fox.gif", seed=seed) for seed in (1, 2)] == [f"{bucket}/fox.gif", f"{bucket}/fox-2.gif"]
    assert store("fox.gif", seed=3, overwrite=True) == f"{bucket}/fox.gif"
    assert names(bucket) == ["fox-2.gif", "fox.gif"]
    assert read_recipe(local_input(f"{bucket}/fox.gif"))["seed"] == 3


def test_a_folder_of_frames_is_replaced_whole_and_never_other_files(store, bucket, tmp_path):
    store("fox", "frames", frames=3)
    assert names(bucket) == ["fox/00000.png", "fox/00001.png", "fox/00002.png", "fox/recipe.json"]
    store("fox", "frames", overwrite=True)
    assert names(bucket) == ["fox/00000.png", "fox/00001.png", "fox/recipe.json"]
    assert store("fox", "frames") == f"{bucket}/fox-2"
    (tmp_path / "notes.txt").write_text("mine")
    upload(tmp_path / "notes.txt", location(f"{bucket}/fox/notes.txt"), replace=False)
    with pytest.raises(UsageError, match=r"more than frames \(`notes\.txt`\)"):
        store("fox", "frames", overwrite=True)
    with pytest.raises(UsageError, match="is a folder, so it is not replaced"):
        store("fox", "gif", overwrite=True)


def test_the_recipe_of_a_folder_is_uploaded_last_so_that_it_marks_it_as_complete(store, bucket, monkeypatch):
    order = []

    def watched(source, target, *, replace):
        order.append(target.name)
        upload(source, target, replace=replace)

    monkeypatch.setattr(outputs, "upload", watched)
    store("fox", "frames")
    assert order == ["00000.png", "00001.png", "recipe.json"]

    def cut(source, target, *, replace):
        raise NetworkError("connection lost")

    monkeypatch.setattr(outputs, "upload", cut)
    with pytest.raises(NetworkError) as failure:
        store("fox", "frames", overwrite=True)
    assert "fox/recipe.json" not in names(bucket)
    remove_kept(failure.value)


def remove_kept(error):
    """Remove the clip that an error names, and return its recipe."""
    kept = location(str(error).partition("the clip is kept as `")[2].removesuffix("`"))
    recipe = read_recipe(kept)
    for file in kept.iterdir() if kept.is_dir() else [kept]:
        file.unlink()
    if kept.is_dir():
        kept.rmdir()
    kept.parent.rmdir()
    return recipe


def test_a_clip_whose_upload_fails_is_kept_and_named(store, bucket, monkeypatch):
    def denied(source, target, *, replace):
        with storage_failures("write", target):
            raise PermissionError

    monkeypatch.setattr(outputs, "upload", denied)
    with pytest.raises(
        NetworkError, match=rf"cannot write `{bucket}/fox\.gif`: permission denied; the clip"
    ) as failure:
        store("fox.gif")
    assert remove_kept(failure.value)["seed"] == 7
    assert names(bucket) == []


def test_an_input_is_downloaded_again_when_it_has_changed(store, bucket):
    for frames in (2, 3):
        url = store("fox.gif", frames=frames, overwrite=True)
        first, second = local_input(url), local_input(location(url))
        assert first == second and first.name == "fox.gif" and len(read_clip(first).frames) == frames
    store("hen", "frames", frames=4)
    assert len(read_clip(local_input(f"{bucket}/hen")).frames) == 4


def test_temporary_files_are_removed(store, bucket, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store("fox.gif")
    assert list(tmp_path.iterdir()) == []
    with temporary_folder({}):  # what a test of an empty folder would miss
        assert list(tmp_path.iterdir()) != []


def test_frames_must_be_a_clip_here_too(bucket):
    with pytest.raises(ValueError, match="uint8"):
        store_clip(np.zeros((2, 8, 8, 3)), 8, location(f"{bucket}/fox.gif"), "gif", {})
