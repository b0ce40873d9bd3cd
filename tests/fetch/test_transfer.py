"""The downloader against a server that does what servers do: a file is whole and right, or it is not there."""

import hashlib

import pytest

from animdiff_cli.core.events import BytesReceived, Note, ignore
from animdiff_cli.errors import IntegrityError, NetworkError, NotFound
from animdiff_cli.fetch import transfer as transfers
from animdiff_cli.fetch.remote import Remote
from animdiff_cli.fetch.transfer import part_path, transfer
from tests.fetch.server import Fault

SIZE = 300_000


@pytest.fixture
def data(make_bytes):
    return make_bytes(SIZE)


@pytest.fixture
def get(site, network, tmp_path):
    """Fetch a path of the site to `model.bin`; keyword arguments are what is known of it beforehand."""

    def run(path="/f", emit=ignore, **known):
        return transfer(Remote(site.url + path, "model.bin", **known), tmp_path / "model.bin", network, emit)

    return run


@pytest.fixture
def small_segments(monkeypatch):
    """Ask for small spans, so that a small file takes several connections."""
    monkeypatch.setattr(transfers, "SEGMENT", 20_000)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def left_behind(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model.bin"))


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(site, get, data, tmp_path):
    site.put("/f", data)
    digest = get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert (digest.sha256, digest.size) == (sha256(data), SIZE)
    assert left_behind(tmp_path) == ["model.bin"]


def test_an_empty_file_arrives_too(site, get, tmp_path):
    site.put("/f", b"")
    assert get().size == 0
    assert (tmp_path / "model.bin").read_bytes() == b""


@pytest.mark.usefixtures("small_segments")
def test_a_large_file_comes_over_several_connections_and_every_byte_once(site, get, data, tmp_path):
    site.put("/f", data, seconds_per_block=0.005)
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert len(site.asked("/f")) == SIZE // 20_000
    assert site.sent == SIZE


def test_a_cut_line_costs_no_byte_twice(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.append(Fault(cut_after=100_000))
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert [seen.range for seen in site.asked("/f")][1].startswith("bytes=100000-")
    assert site.sent == SIZE


@pytest.mark.usefixtures("small_segments")
def test_cut_lines_of_several_connections_cost_no_byte_twice(site, get, data, tmp_path):
    site.put("/f", data, seconds_per_block=0.002)
    site.faults.extend([Fault(cut_after=9_000), Fault(), Fault(cut_after=1), Fault(cut_after=0), Fault(cut_after=500)])
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=120_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError, match="broke off"):
        get(sha256=sha256(data))
    assert left_behind(tmp_path) == ["model.bin.part", "model.bin.part.jsonl"]
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE


def test_a_server_that_ignores_ranges_is_read_from_the_beginning_again(site, get, data, tmp_path):
    site.put("/f", data, ranges=False)
    site.faults.append(Fault(cut_after=100_000))
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE + 100_000


def test_a_server_that_sends_other_bytes_than_asked_is_read_in_one_go(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.append(Fault(shift=500))
    get()
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.asked("/f")[-1].range is None


@pytest.mark.parametrize("size", [SIZE, SIZE - 150_000, SIZE + 7])
def test_a_file_that_changes_between_two_halves_is_never_mixed(site, get, data, make_bytes, tmp_path, size):
    other = make_bytes(size, seed=1)
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), Fault(swap=other)])
    notes = []
    get(emit=lambda event: notes.append(event.message) if isinstance(event, Note) else None)
    assert (tmp_path / "model.bin").read_bytes() == other
    assert any("changed on the server" in note for note in notes)


@pytest.mark.usefixtures("small_segments")
def test_a_file_that_changes_under_several_connections_is_never_mixed(site, get, data, make_bytes, tmp_path):
    other = make_bytes(SIZE, seed=1)
    site.put("/f", data, seconds_per_block=0.002)
    site.faults.extend([Fault()] * 5 + [Fault(swap=other)])
    get()
    assert (tmp_path / "model.bin").read_bytes() == other


def test_without_a_sign_of_its_version_a_file_is_not_patched_together(site, get, data, make_bytes, tmp_path):
    other = make_bytes(SIZE, seed=1)
    site.put("/f", data, etag=False)
    site.faults.extend([Fault(cut_after=200_000), Fault(swap=other)])
    get()
    assert (tmp_path / "model.bin").read_bytes() == other


def test_a_file_that_keeps_changing_is_given_up(site, get, make_bytes, tmp_path):
    site.put("/f", make_bytes(SIZE))
    for seed in range(1, 20):
        site.faults.append(Fault(cut_after=70_000, swap=make_bytes(SIZE, seed)))
    with pytest.raises(NetworkError, match="keeps changing"):
        get()
    assert "model.bin" not in left_behind(tmp_path)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_waited_out(site, get, data, tmp_path, status):
    site.put("/f", data)
    site.faults.extend([Fault(status=status), Fault(status=status)])
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, NetworkError, "token"),
        (403, NetworkError, "token"),
        (404, NotFound, "no such file"),
        (410, NotFound, "no such file"),
        (451, NetworkError, "status 451"),
    ],
)
def test_a_final_refusal_is_not_asked_for_twice(site, get, data, status, error, words):
    site.put("/f", data)
    site.faults.append(Fault(status=status))
    with pytest.raises(error, match=words):
        get()
    assert len(site.asked("/f")) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_fault_that_stays_ends_as_a_network_failure(site, get, data, status):
    site.put("/f", data)
    site.faults.extend([Fault(status=status)] * 9)
    with pytest.raises(NetworkError, match=f"status {status}") as refusal:
        get()
    assert refusal.value.exit_code == 4
    assert len(site.asked("/f")) == 3


def test_a_server_that_asks_for_a_pause_gets_it(site, get, data):
    site.put("/f", data)
    site.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    notes = []
    get(emit=lambda event: notes.append(event.message) if isinstance(event, Note) else None)
    assert any("again in 1 s" in note for note in notes)


def test_a_server_that_asks_for_an_hour_is_not_waited_for(site, get, data):
    site.put("/f", data)
    site.faults.append(Fault(status=503, headers={"Retry-After": "3600"}))
    with pytest.raises(NetworkError, match="status 503"):
        get()


def test_a_file_that_has_shrunk_is_begun_again(site, get, data, make_bytes, tmp_path):
    """What an earlier run left lies beyond the end: the server answers 416."""
    other = make_bytes(50_000, seed=1)
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError):
        get()
    site.put("/f", other)
    get()
    assert (tmp_path / "model.bin").read_bytes() == other


def test_a_web_page_is_not_taken_for_weights(site, get, tmp_path):
    site.put("/f", b"<!DOCTYPE html><title>Sign in</title>", headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(NetworkError, match="web page"):
        get()
    assert "model.bin" not in left_behind(tmp_path)


def test_a_web_page_that_calls_itself_bytes_is_not_taken_for_weights(site, get, tmp_path):
    site.put("/f", b"\n<html><body>Too many requests</body></html>")
    with pytest.raises(IntegrityError, match="web page"):
        get()
    assert left_behind(tmp_path) == []


def test_a_wrong_hash_is_refused_and_leaves_nothing(site, get, data, tmp_path):
    site.put("/f", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=f"expected sha256 {sha256(data)[:12]}") as refusal:
        get(sha256=sha256(data))
    assert refusal.value.exit_code == 5
    assert left_behind(tmp_path) == []


def test_another_size_than_the_pinned_one_is_refused_before_a_byte_is_kept(site, get, data, tmp_path):
    site.put("/f", data)
    with pytest.raises(IntegrityError, match="should be 299999"):
        get(sha256=sha256(data), size=SIZE - 1, pinned=True)
    assert "model.bin" not in left_behind(tmp_path)


def test_silence_is_a_cut_line(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.append(Fault(stall_after=100_000))
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert site.sent == SIZE


def test_a_length_that_is_too_long_ends_as_a_network_failure(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, claimed=SIZE + 100)
    with pytest.raises(NetworkError, match="broke off"):
        get()
    assert "model.bin" not in left_behind(tmp_path)


def test_a_total_that_is_too_long_ends_as_a_network_failure(site, get, data, tmp_path):
    site.put("/f", data, claimed=SIZE + 100)
    with pytest.raises(NetworkError):
        get()
    assert "model.bin" not in left_behind(tmp_path)


def test_a_length_that_is_too_short_fails_the_hash(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, claimed=SIZE - 100)
    with pytest.raises(IntegrityError):
        get(sha256=sha256(data))
    assert left_behind(tmp_path) == []


def test_a_chunked_file_of_untold_length_arrives(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, chunked=True)
    get()
    assert (tmp_path / "model.bin").read_bytes() == data


def test_a_chunked_file_that_is_cut_is_not_taken_for_whole(site, get, data, tmp_path):
    site.put("/f", data, ranges=False, chunked=True)
    site.faults.extend([Fault(cut_after=100_000)] * 9)
    with pytest.raises(NetworkError, match="broke off"):
        get()
    assert "model.bin" not in left_behind(tmp_path)


def test_where_nothing_tells_the_end_nothing_is_taken(site, get, data):
    site.put("/f", data, ranges=False, length=False)
    with pytest.raises(NetworkError, match="does not say how long"):
        get()


def test_bytes_that_came_to_harm_on_the_disk_are_fetched_again(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError):
        get(sha256=sha256(data))
    with part_path(tmp_path / "model.bin").open("r+b") as part:
        part.seek(1000)
        part.write(b"harm")
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data


@pytest.mark.parametrize("harm", ["", "null\n", "{]\n[0, 300000]\n", '{"size": 300000}\n[0, 300000]\n', "\x00\x00"])
def test_a_damaged_journal_vouches_for_nothing(site, get, data, tmp_path, harm):
    site.put("/f", data)
    part = part_path(tmp_path / "model.bin")
    part.write_bytes(bytes(SIZE))
    part.with_name("model.bin.part.jsonl").write_text(harm)
    get()
    assert (tmp_path / "model.bin").read_bytes() == data


def test_a_journal_that_promises_more_than_the_part_holds_is_not_believed(site, get, data, tmp_path):
    site.put("/f", data)
    site.faults.extend([Fault(cut_after=200_000), *[Fault(cut_after=0)] * 3])
    with pytest.raises(NetworkError):
        get()
    with part_path(tmp_path / "model.bin").open("r+b") as part:
        part.truncate(1000)
    get()
    assert (tmp_path / "model.bin").read_bytes() == data


def test_redirects_to_another_host_are_followed_without_the_token(site, storage, get, data, tmp_path):
    target = storage.put("/blob", data)
    site.put("/f", redirect=target)
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert {seen.authorization for seen in site.seen} == {"Bearer hf_secret"}
    assert {seen.authorization for seen in storage.seen} == {None}


def test_a_redirect_into_the_file_system_is_refused(site, get):
    site.put("/f", redirect="file:///etc/passwd")
    with pytest.raises(NetworkError, match="not https"):
        get()


def test_a_redirect_in_circles_ends(site, get):
    site.put("/f", redirect=f"{site.url}/f")
    with pytest.raises(NetworkError, match="in circles"):
        get()


def test_a_signed_address_that_has_expired_is_asked_for_anew(site, storage, get, data, tmp_path):
    site.put("/f", redirect=storage.put("/blob", data))
    storage.faults.extend([Fault(cut_after=100_000), Fault(status=403)])
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert len(site.asked("/f")) == 3


def test_a_proxy_is_used_where_one_is_set(site, network, data, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", site.url)
    site.put("http://weights.example/f", data)
    transfer(Remote("http://weights.example/f", "f"), tmp_path / "f", network, ignore)
    assert (tmp_path / "f").read_bytes() == data
    assert {seen.authorization for seen in site.seen} == {None}


def test_a_file_that_was_compressed_on_the_way_is_refused(site, get, data, tmp_path):
    site.put("/f", data, headers={"Content-Encoding": "gzip"})
    with pytest.raises(NetworkError, match="compressed"):
        get()
    assert "model.bin" not in left_behind(tmp_path)


def test_no_password_file_is_read(site, get, data, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.put("/f", data)
    get()
    assert {seen.authorization for seen in site.seen} == {"Bearer hf_secret"}


def test_a_server_that_is_not_there_is_named(network, tmp_path):
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1"):
        transfer(Remote("http://127.0.0.1:9/f", "f"), tmp_path / "f", network, ignore)


def test_what_is_told_on_the_way_ends_with_all_of_it(site, get, data):
    site.put("/f", data, seconds_per_block=0.02)
    told = []
    get(emit=lambda event: told.append(event) if isinstance(event, BytesReceived) else None)
    done = [event.done for event in told]
    assert done == sorted(done)
    assert len(done) > 2
    assert told[-1] == BytesReceived("model.bin", SIZE, SIZE)
