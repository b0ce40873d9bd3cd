"""`download_file` against servers with faults: the file is complete and verified, or it does not exist."""

import pytest

from animdiff_cli.core.events import BytesReceived, Note
from animdiff_cli.errors import IntegrityError, NetworkError
from animdiff_cli.fetch import transfer as transfers
from animdiff_cli.fetch.part import part_path
from tests.fetch.conftest import SIZE
from tests.fetch.server import Fault, files_of_download, sha256


@pytest.fixture
def small_segments(monkeypatch):
    """Use small segments, so that a small file takes several connections."""
    monkeypatch.setattr(transfers, "SEGMENT_BYTES", 20_000)


def test_downloads_a_file_and_leaves_nothing_else(site, get, data, tmp_path):
    site.put("/f", data)
    digest = get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert (digest.sha256, digest.size) == (sha256(data), SIZE)
    assert files_of_download(tmp_path) == ["model.bin"]


def test_downloads_an_empty_file(site, get, tmp_path):
    site.put("/f", b"")
    assert get().size == 0
    assert (tmp_path / "model.bin").read_bytes() == b""


@pytest.mark.usefixtures("small_segments")
def test_downloads_a_large_file_over_several_connections_each_byte_once(site, get, data, tmp_path):
    site.put("/f", data, seconds_per_block=0.005)
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert len(site.get_requests("/f")) == SIZE // 20_000
    assert site.sent == SIZE


def test_resumes_after_a_lost_connection_without_repeating_bytes(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.append(Fault(cut_after=100_000))
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert [request.range for request in site.get_requests("/f")][1].startswith("bytes=100000-")
    assert site.sent == SIZE


@pytest.mark.usefixtures("small_segments")
def test_resumes_after_several_lost_connections_without_repeating_bytes(site, get, data, tmp_path):
    site.put("/f", data, seconds_per_block=0.002)
    site.faults.extend([Fault(cut_after=9_000), Fault(), Fault(cut_after=1), Fault(cut_after=0), Fault(cut_after=500)])
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE


def test_a_later_run_resumes_a_partial_download(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=120_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError, match=r"connection to 127\.0\.0\.1 lost"):
        get(sha256=sha256(data))
    assert files_of_download(tmp_path) == ["model.bin.part", "model.bin.part.jsonl"]
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE


def test_starts_again_if_the_server_ignores_ranges(site, get, data, tmp_path):
    site.put("/f", data, ranges=False)
    site.faults.append(Fault(cut_after=100_000))
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE + 100_000


def test_requests_the_whole_file_if_the_server_sends_wrong_ranges(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.append(Fault(shift=500))
    get()
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.get_requests("/f")[-1].range is None


@pytest.mark.parametrize("size", [SIZE, SIZE - 150_000, SIZE + 7])
def test_never_mixes_versions_of_a_file_that_changes_between_attempts(site, get, data, make_bytes, tmp_path, size):
    other = make_bytes(size, seed=1)
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), Fault(swap=other)])
    notes = []
    get(emit=lambda event: notes.append(event.message) if isinstance(event, Note) else None)
    assert (tmp_path / "model.bin").read_bytes() == other
    assert any("changed on the server" in note for note in notes)


@pytest.mark.usefixtures("small_segments")
def test_never_mixes_versions_of_a_file_that_changes_during_an_attempt(site, get, data, make_bytes, tmp_path):
    other = make_bytes(SIZE, seed=1)
    site.put("/f", data, seconds_per_block=0.002)
    site.faults.extend([Fault()] * 5 + [Fault(swap=other)])
    get()
    assert (tmp_path / "model.bin").read_bytes() == other


def test_does_not_resume_without_validator_or_hash(site, get, data, make_bytes, tmp_path):
    other = make_bytes(SIZE, seed=1)
    site.put("/f", data, etag=False)
    site.faults.extend([Fault(cut_after=200_000), Fault(swap=other)])
    get()
    assert (tmp_path / "model.bin").read_bytes() == other


def test_gives_up_on_a_file_that_keeps_changing(site, get, make_bytes, tmp_path):
    site.put("/f", make_bytes(SIZE))
    for seed in range(1, 20):
        site.faults.append(Fault(cut_after=70_000, swap=make_bytes(SIZE, seed)))
    with pytest.raises(NetworkError, match="keeps changing"):
        get()
    assert "model.bin" not in files_of_download(tmp_path)


def test_starts_again_if_the_file_has_shrunk(site, get, data, make_bytes, tmp_path):
    """The partial file is longer than the new one, so the server returns status 416."""
    other = make_bytes(50_000, seed=1)
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError):
        get()
    site.put("/f", other)
    get()
    assert (tmp_path / "model.bin").read_bytes() == other


def test_refuses_a_web_page_with_a_binary_content_type(site, get, tmp_path):
    site.put("/f", b"\n<html><body>Too many requests</body></html>")
    with pytest.raises(IntegrityError, match="web page"):
        get()
    assert files_of_download(tmp_path) == []


def test_refuses_a_wrong_hash_and_leaves_nothing(site, get, data, tmp_path):
    site.put("/f", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=f"expected sha256 {sha256(data)[:12]}") as refusal:
        get(sha256=sha256(data))
    assert refusal.value.exit_code == 5
    assert files_of_download(tmp_path) == []


def test_refuses_another_size_than_the_exact_one_before_writing(site, get, data, tmp_path):
    site.put("/f", data)
    with pytest.raises(IntegrityError, match="expected 299999 bytes"):
        get(sha256=sha256(data), size=SIZE - 1, exact_size=True)
    assert "model.bin" not in files_of_download(tmp_path)


def test_a_stalled_connection_is_retried(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.append(Fault(stall_after=100_000))
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE


def test_a_content_length_that_is_too_long_is_a_network_error(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, claimed=SIZE + 100)
    with pytest.raises(NetworkError, match=r"connection to 127\.0\.0\.1 lost"):
        get()
    assert "model.bin" not in files_of_download(tmp_path)


def test_a_content_range_total_that_is_too_long_is_a_network_error(site, get, data, tmp_path):
    site.put("/f", data, claimed=SIZE + 100)
    with pytest.raises(NetworkError):
        get()
    assert "model.bin" not in files_of_download(tmp_path)


def test_a_content_length_that_is_too_short_fails_the_hash(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, claimed=SIZE - 100)
    with pytest.raises(IntegrityError):
        get(sha256=sha256(data))
    assert files_of_download(tmp_path) == []


def test_downloads_a_chunked_file_of_unknown_size(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, chunked=True)
    get()
    assert (tmp_path / "model.bin").read_bytes() == data


def test_detects_a_truncated_chunked_file(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, chunked=True)
    site.faults.extend([Fault(cut_after=100_000)] * 9)
    with pytest.raises(NetworkError, match=r"connection to 127\.0\.0\.1 lost"):
        get()
    assert "model.bin" not in files_of_download(tmp_path)


def test_refuses_a_response_whose_end_cannot_be_detected(site, get, data):
    site.put("/f", data, ranges=False, length=False)
    with pytest.raises(NetworkError, match="does not report the size"):
        get()


def test_downloads_again_if_the_partial_file_is_damaged(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError):
        get(sha256=sha256(data))
    with part_path(tmp_path / "model.bin").open("r+b") as part:
        part.seek(1000)
        part.write(b"damage")
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data


@pytest.mark.parametrize("damage", ["", "null\n", "{]\n[0, 300000]\n", '{"size": 300000}\n[0, 300000]\n', "\x00\x00"])
def test_ignores_a_damaged_journal(site, get, data, tmp_path, damage):
    site.put("/f", data)
    part = part_path(tmp_path / "model.bin")
    part.write_bytes(bytes(SIZE))
    part.with_name("model.bin.part.jsonl").write_text(damage)
    get()
    assert (tmp_path / "model.bin").read_bytes() == data


def test_ignores_journal_ranges_beyond_the_partial_file(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError):
        get()
    with part_path(tmp_path / "model.bin").open("r+b") as part:
        part.truncate(1000)
    get()
    assert (tmp_path / "model.bin").read_bytes() == data


def test_progress_events_grow_to_the_full_size(site, get, data):
    site.put("/f", data, seconds_per_block=0.02)
    events = []
    get(emit=lambda event: events.append(event) if isinstance(event, BytesReceived) else None)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert len(done) > 2
    assert events[-1] == BytesReceived("model.bin", SIZE, SIZE)
