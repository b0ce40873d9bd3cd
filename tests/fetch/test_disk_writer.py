"""What the disk refuses while a download goes on is told, not lost."""

import os
import time

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


def test_a_disk_that_refuses_half_way_fails_it_soon_after(unwritable):
    unwritable.follow(STEP)
    with pytest.raises(OSError, match="Invalid argument"):
        for _ in range(10_000):
            time.sleep(0.001)
            unwritable.follow(2 * STEP)
