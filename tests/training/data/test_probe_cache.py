"""A video is looked through once: the next run takes what was seen, and trusts nothing that is damaged."""

import json
import os

import pytest

from animdiff_cli.training.data.dataset import scan


@pytest.fixture
def video(tmp_path, counting, write_video):
    (tmp_path / "videos").mkdir()
    return write_video(counting(40), tmp_path / "videos" / "a.mp4")


def notes_in(cache):
    return sorted(cache.rglob("*.json"))


def test_the_next_run_takes_what_was_seen(video, config, cache):
    seen = scan(config()).items[0].timeline
    (note,) = notes_in(cache)
    told = json.loads(note.read_text())
    assert scan(config()).items[0].timeline == seen
    # whoever reads the note must believe it, or the video was looked through again
    note.write_text(json.dumps(told | {"cuts": [39]}))
    assert scan(config(seed=1)).items[0].timeline.cuts == (39,)


def test_a_renamed_video_is_known_and_a_changed_one_is_not(video, config, cache, counting, write_video):
    scan(config())
    moved = video.rename(video.with_name("b.mp4"))
    scan(config())
    assert len(notes_in(cache)) == 1
    write_video(counting(50), moved)
    assert len(scan(config()).items[0].timeline.times) == 50
    assert len(notes_in(cache)) == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"width": 96, "height": 48, "times": 3, "cuts": []}', "é"])
def test_a_damaged_note_is_made_anew(damage, video, config, cache):
    seen = scan(config()).items[0].timeline
    (note,) = notes_in(cache)
    note.write_text(damage)
    assert scan(config()).items[0].timeline == seen
    assert json.loads(note.read_text())["width"] == 96


@pytest.mark.skipif(os.name == "nt", reason="needs a path that is a file")
def test_without_a_place_for_notes_it_works_all_the_same(video, config, tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(video / "below-a-file"))
    assert len(scan(config())) == 1


def test_a_broken_video_leaves_no_note(video, config, cache):
    video.with_name("broken.mp4").write_bytes(b"nothing")
    assert len(scan(config()).skipped) == 1
    assert len(notes_in(cache)) == 1
