"""What the disk refuses while a download goes on is told, not lost."""

import os

import pytest

from animdiff_cli.fetch.disk_writer import STEP, DiskWriter


@pytest.fixture
def unwritable():
    """A descriptor that no disk is behind: it refuses every sync."""
    ends = os.pipe()
    writer = DiskWriter(ends[1])
    yield writer
    writer.close()
    for end in ends:
        os.close(end)


def test_a_disk_that_refuses_fails_the_download_at_the_end(unwritable):
    with pytest.raises(OSError, match="Invalid argument"):
        unwritable.finish(1).result()


def test_a_disk_that_refused_half_way_is_not_believed_later(unwritable):
    unwritable.follow(STEP)
    with pytest.raises(OSError, match="Invalid argument"):
        unwritable.finish(STEP + 1).result()
