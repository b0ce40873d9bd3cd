"""HTTP behavior of downloads: statuses, retries, redirects, tokens and unexpected responses."""

import pytest

from animdiff_cli.core.events import Note, ignore
from animdiff_cli.errors import NetworkError, NotFound
from animdiff_cli.fetch.remote import RemoteFile
from animdiff_cli.fetch.transfer import download_file
from tests.fetch.server import Fault, files_of_download, sha256


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_retries_transient_statuses(site, get, data, tmp_path, status):
    site.put("/f", data)
    site.faults.extend([Fault(status=status), Fault(status=status)])
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, NetworkError, "token"),
        (403, NetworkError, "token"),
        (404, NotFound, "no such file"),
        (410, NotFound, "no such file"),
        (451, NetworkError, "status 451"),
    ],
)
def test_does_not_retry_permanent_statuses(site, get, data, status, error, message):
    site.put("/f", data)
    site.faults.append(Fault(status=status))
    with pytest.raises(error, match=message):
        get()
    assert len(site.get_requests("/f")) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_raises_network_error_when_retries_are_exhausted(site, get, data, status):
    site.put("/f", data)
    site.faults.extend([Fault(status=status)] * 9)
    with pytest.raises(NetworkError, match=f"status {status}") as refusal:
        get()
    assert refusal.value.exit_code == 4
    assert len(site.get_requests("/f")) == 3


def test_waits_as_long_as_retry_after_says(site, get, data):
    site.put("/f", data)
    site.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    notes = []
    get(emit=lambda event: notes.append(event.message) if isinstance(event, Note) else None)
    assert any("retrying in 1 s" in note for note in notes)


def test_gives_up_if_retry_after_is_too_long(site, get, data):
    site.put("/f", data)
    site.faults.append(Fault(status=503, headers={"Retry-After": "3600"}))
    with pytest.raises(NetworkError, match="status 503"):
        get()


def test_refuses_a_web_page(site, get, tmp_path):
    site.put("/f", b"<!DOCTYPE html><title>Sign in</title>", headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(NetworkError, match="web page"):
        get()
    assert "model.bin" not in files_of_download(tmp_path)


def test_follows_redirects_to_another_host_without_the_token(site, storage, get, data, tmp_path):
    target = storage.put("/blob", data)
    site.put("/f", redirect=target)
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert {request.authorization for request in site.requests} == {"Bearer hf_secret"}
    assert {request.authorization for request in storage.requests} == {None}


def test_refuses_a_redirect_to_a_file_url(site, get):
    site.put("/f", redirect="file:///etc/passwd")
    with pytest.raises(NetworkError, match="not HTTPS"):
        get()


def test_gives_up_on_a_redirect_loop(site, get):
    site.put("/f", redirect=f"{site.url}/f")
    with pytest.raises(NetworkError, match="too many redirects"):
        get()


def test_requests_a_new_signed_url_when_the_old_one_has_expired(site, storage, get, data, tmp_path):
    site.put("/f", redirect=storage.put("/blob", data))
    storage.faults.extend([Fault(cut_after=100_000), Fault(status=403)])
    get(sha256=sha256(data))
    assert (tmp_path / "model.bin").read_bytes() == data
    assert len(site.get_requests("/f")) == 3


def test_uses_the_proxy_of_the_environment(site, network, data, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", site.url)
    site.put("http://weights.example/f", data)
    download_file(RemoteFile("http://weights.example/f", "f"), tmp_path / "f", network, ignore)
    assert (tmp_path / "f").read_bytes() == data
    assert {request.authorization for request in site.requests} == {None}


def test_refuses_a_compressed_response(site, get, data, tmp_path):
    site.put("/f", data, headers={"Content-Encoding": "gzip"})
    with pytest.raises(NetworkError, match="compressed"):
        get()
    assert "model.bin" not in files_of_download(tmp_path)


def test_does_not_read_netrc(site, get, data, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.put("/f", data)
    get()
    assert {request.authorization for request in site.requests} == {"Bearer hf_secret"}


def test_an_unreachable_server_is_named(network, tmp_path):
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1"):
        download_file(RemoteFile("http://127.0.0.1:9/f", "f"), tmp_path / "f", network, ignore)
