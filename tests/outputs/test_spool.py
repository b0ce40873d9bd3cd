"""Frames that wait on disk: every writer reads them one at a time and writes the same bytes."""

import gc
import os
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import UsageError
from animdiff_cli.outputs import spool as spool_module
from animdiff_cli.outputs import write_clip
from animdiff_cli.outputs.spool import FrameSpool, check_spool


@pytest.fixture(params=[1, 1 << 20], ids=["on disk", "in memory"])
def spooled(request, monkeypatch):
    """Spool a clip in chunks of three frames."""
    monkeypatch.setattr(spool_module, "MAX_IN_MEMORY", request.param)
    return lambda clip: FrameSpool(clip[at : at + 3] for at in range(0, len(clip), 3))


def content(path):
    return [(file.name, file.read_bytes()) for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def test_a_spool_is_read_like_the_array(spooled, make_clip):
    clip = make_clip(8)
    spool = spooled(clip[:, ::-1])
    assert spool.shape == clip.shape and len(spool) == 8
    assert np.array_equal(np.asarray(spool), clip[:, ::-1])
    assert all(np.array_equal(frame, other) for frame, other in zip(spool, clip[:, ::-1], strict=True))
    assert np.array_equal(spool[-2], clip[-2, ::-1])
    with pytest.raises(IndexError):
        spool[8]


@pytest.mark.parametrize("format", FORMATS)
def test_a_spool_is_written_like_the_array(format, spooled, tmp_path, make_clip):
    clip = make_clip(7, 33, 31)
    clip[4] = clip[3]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write_clip(clip, 8, tmp_path / "a" / "clip", format, {"seed": 1})
    other = write_clip(spooled(clip), 8, tmp_path / "b" / "clip", format, {"seed": 1})
    assert content(one) == content(other)


class Watched:
    """A clip that counts how many of its frames are in memory at once."""

    def __init__(self, clip):
        self.clip, self.shape, self.alive, self.most = clip, clip.shape, 0, 0

    def __len__(self):
        return len(self.clip)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index):
        frame = self.clip[index].copy()
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(frame, self.forget)
        return frame

    def forget(self):
        self.alive -= 1


@pytest.mark.parametrize("format", FORMATS)
def test_writers_hold_no_more_than_two_frames(format, tmp_path, make_clip):
    watched = Watched(make_clip(20))
    write_clip(watched, 8, tmp_path / "clip", format, {})
    assert 1 <= watched.most <= 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX deletes the name, Windows the file when it is closed")
def test_the_file_has_no_name_and_goes_with_the_spool(monkeypatch, tmp_path, make_clip):
    monkeypatch.setattr(spool_module, "MAX_IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = FrameSpool([make_clip()])
    file = spool._file
    assert os.fstat(file.fileno()).st_nlink == 0 and not list(tmp_path.iterdir())
    del spool
    gc.collect()
    assert file.closed


def test_a_full_disk_is_reported_before_and_after_rendering(monkeypatch, make_clip):
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=10**9))
    with pytest.raises(UsageError, match=r"4096 frames of 512x512 need 3\.2 GB in .* and 1\.0 GB are free") as refusal:
        check_spool(4096, 512, 512)
    assert "TMPDIR" in refusal.value.hint
    check_spool(16, 512, 512)
