"""A video is probed once: the next run uses the cache, except for damaged entries."""

import json
import os

import pytest

from animdiff_cli.training.data.dataset import scan


@pytest.fixture
def video(tmp_path, counting, write_video):
    (tmp_path / "videos").mkdir()
    return write_video(counting(40), tmp_path / "videos" / "a.mp4")


def entries_in(cache):
    return sorted(cache.rglob("*.json"))


def test_the_next_run_uses_the_cached_timeline(video, config, cache):
    timeline = scan(config()).items[0].timeline
    (entry,) = entries_in(cache)
    values = json.loads(entry.read_text())
    assert scan(config()).items[0].timeline == timeline
    # the edited entry is used, so the video is not decoded again
    entry.write_text(json.dumps(values | {"cuts": [39]}))
    assert scan(config(seed=1)).items[0].timeline.cuts == (39,)


def test_a_renamed_video_hits_the_cache_and_a_changed_one_does_not(video, config, cache, counting, write_video):
    scan(config())
    moved = video.rename(video.with_name("b.mp4"))
    scan(config())
    assert len(entries_in(cache)) == 1
    write_video(counting(50), moved)
    assert len(scan(config()).items[0].timeline.times) == 50
    assert len(entries_in(cache)) == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"width": 96, "height": 48, "times": 3, "cuts": []}', "é"])
def test_a_damaged_cache_entry_is_computed_again(damage, video, config, cache):
    timeline = scan(config()).items[0].timeline
    (entry,) = entries_in(cache)
    entry.write_text(damage)
    assert scan(config()).items[0].timeline == timeline
    assert json.loads(entry.read_text())["width"] == 96


@pytest.mark.skipif(os.name == "nt", reason="needs a path that is a file")
def test_an_unwritable_cache_is_ignored(video, config, tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(video / "below-a-file"))
    assert len(scan(config())) == 1


def test_a_damaged_video_is_not_cached(video, config, cache):
    video.with_name("broken.mp4").write_bytes(b"nothing")
    assert len(scan(config()).skipped) == 1
    assert len(entries_in(cache)) == 1
