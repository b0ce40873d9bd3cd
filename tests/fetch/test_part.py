"""Byte ranges account for every byte, and errors of background syncs are not lost."""

import os
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.fetch.part import (
    SYNC_INTERVAL,
    BackgroundSync,
    contiguous_bytes,
    count_bytes,
    merge_ranges,
    missing_ranges,
    resumable_bytes,
    split_ranges,
)
from animdiff_cli.fetch.remote import digest_of

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1])), max_size=12)


def bytes_of(ranges):
    return {byte for start, stop in ranges for byte in range(start, stop)}


@given(RANGES)
def test_merging_keeps_every_byte_without_overlap(ranges):
    merged = merge_ranges(ranges)
    assert bytes_of(merged) == bytes_of(ranges)
    assert count_bytes(merged) == len(bytes_of(ranges))
    assert all(before[1] < after[0] for before, after in pairwise(merged))


@given(RANGES, st.integers(0, 90))
def test_missing_ranges_are_the_exact_complement(ranges, size):
    assert bytes_of(missing_ranges(ranges, size)) == set(range(size)) - bytes_of(ranges)


@given(RANGES, st.integers(1, 9))
def test_splitting_keeps_every_byte_in_short_ranges(ranges, longest):
    parts = split_ranges(ranges, longest)
    assert bytes_of(parts) == bytes_of(ranges)
    assert all(0 < stop - start <= longest for start, stop in parts)


@given(RANGES)
def test_contiguous_bytes_end_at_the_first_missing_byte(ranges):
    present = bytes_of(ranges)
    assert contiguous_bytes(ranges) == next(byte for byte in range(100) if byte not in present)


@pytest.fixture
def failing_sync():
    """A sync of a pipe, for which fsync always fails."""
    ends = os.pipe()
    sync = BackgroundSync(ends[1])
    yield sync
    sync.close()
    for end in ends:
        os.close(end)


def test_a_sync_error_is_raised_by_the_last_flush(failing_sync):
    with pytest.raises(OSError, match="Invalid argument"):
        failing_sync.flush_rest(1).result()


def test_a_sync_error_during_the_download_is_raised_by_the_next_flush(failing_sync):
    failing_sync.flush_if_due(SYNC_INTERVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        for _ in range(10_000):
            time.sleep(0.001)
            failing_sync.flush_if_due(2 * SYNC_INTERVAL)


@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"{}",
        b"[1]\n[0, 4]",
        b'{"size": "x", "validator": null, "sha256": null}\n[0, 4]',
        b'{"size": 9, "validator": 1, "sha256": []}\n[0, 4]',
        b"[" * 100_000,
        b"\xff\xfe",
        b"null\n[0, 4]",
    ],
)
def test_a_damaged_journal_starts_again(tmp_path, journal):
    part = tmp_path / "x.part"
    part.write_bytes(b"12345678")
    (tmp_path / "x.part.jsonl").write_bytes(journal)
    assert resumable_bytes(part) == 0


@pytest.mark.parametrize(
    "line", [b'"ab"', b"[0]", b"[null, 4]", b'{"0": 1}', b"[4, 1e400]", b"[" * 100_000, b"[4, 99]"]
)
def test_a_damaged_line_of_a_journal_is_ignored(tmp_path, line):
    part = tmp_path / "x.part"
    part.write_bytes(b"12345678")
    version = b'{"size": 9, "validator": "e", "sha256": null}'
    (tmp_path / "x.part.jsonl").write_bytes(b"\n".join([version, b"[0, 4]", line]))
    assert resumable_bytes(part) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
def test_pipes_in_the_models_folder_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "x.part.jsonl")
    (tmp_path / "x.part").write_bytes(b"1234")
    assert resumable_bytes(tmp_path / "x.part") == 0
    with pytest.raises(OSError, match="not a regular file"):
        digest_of(tmp_path / "x.part.jsonl")
