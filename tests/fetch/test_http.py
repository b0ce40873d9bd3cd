"""HTTP behavior of downloads: statuses, retries, redirects, tokens and unexpected responses."""

import contextlib
import socket
import socketserver
import threading
from dataclasses import replace

import pytest
from huggingface_hub.utils import close_session

from animdiff_cli.core.events import Note, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NetworkError, NotFound, UsageError
from animdiff_cli.fetch.http import get_json, open_session
from animdiff_cli.fetch.network import RetryPolicy
from animdiff_cli.fetch.remote import RemoteFile
from animdiff_cli.fetch.sources import resolve
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
    allowing = replace(network, allow_http=True)
    download_file(RemoteFile("http://weights.example/f", "f"), tmp_path / "f", allowing, ignore)
    assert (tmp_path / "f").read_bytes() == data
    assert {request.authorization for request in site.requests} == {None}


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4", "socks", "strange"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password_and_not_retried(
    network, tmp_path, monkeypatch, request, scheme
):
    for name in ("ALL_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"{scheme}://me:pass1234@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    close_session()  # the Hub client reads the proxies when it is created
    request.addfinalizer(close_session)
    slow = replace(network, retry_policy=RetryPolicy(initial_delay_s=60))
    with pytest.raises(NetworkError, match=rf"proxy `{scheme}://…@127\.0\.0\.1:1`") as refusal:
        download_file(RemoteFile(f"{network.hub}/f", "f"), tmp_path / "f", slow, ignore)
    assert refusal.value.hint
    with pytest.raises(NetworkError, match=rf"proxy `{scheme}://…@127\.0\.0\.1:1`"):
        resolve(parse_ref("hf:org/repo/f.ckpt"), slow)


def test_unencrypted_http_is_for_loopback_addresses_unless_allowed(site, network, tmp_path):
    with pytest.raises(UsageError, match="not encrypted") as refusal:
        download_file(RemoteFile("http://weights.example/f", "f"), tmp_path / "f", network, ignore)
    assert "ANIMDIFF_ALLOW_HTTP=1" in (refusal.value.hint or "")
    site.put("/g", redirect="http://weights.example/f")
    with pytest.raises(UsageError, match="not encrypted"):
        download_file(RemoteFile(f"{site.url}/g", "g"), tmp_path / "g", network, ignore)


@pytest.mark.parametrize("location", ["http://[::1/f", "https://host:99999/f", "https:///f", "file:///etc/passwd"])
def test_an_invalid_redirect_is_refused(site, get, location):
    site.put("/f", redirect=location)
    with pytest.raises(NetworkError, match=r"redirects to a URL that is not HTTPS|not a URL"):
        get()


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 9-3/300000"}, {"Content-Range": "bytes 0-300000/300000"}])
def test_an_impossible_range_is_no_endless_loop(site, get, data, headers):
    site.put("/f", data, headers=headers)
    with pytest.raises(NetworkError, match="Content-Range"):
        get()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff", b"", b"9" * 5000])
def test_a_body_that_is_not_json_is_a_network_error(site, network, body):
    site.put("/json", body)
    with open_session(network) as session, pytest.raises(NetworkError, match="did not return JSON"):
        get_json(session, f"{site.url}/json", network)


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


class Socks5(socketserver.ThreadingTCPServer):
    """A SOCKS5 proxy without authentication (RFC 1928) that forwards every connection to `site`."""

    daemon_threads = True

    def __init__(self, site):
        super().__init__(("127.0.0.1", 0), None)
        self.site, self.connections = site, 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def finish_request(self, client, address):
        stream = client.makefile("rb")
        stream.read(stream.read(2)[1])
        client.sendall(b"\x05\x00")
        kind = stream.read(4)[3]
        stream.read({1: 4, 4: 16}.get(kind) or stream.read(1)[0])
        stream.read(2)
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        self.connections += 1
        with socket.create_connection(self.site.server_address) as upstream:
            threading.Thread(target=self._copy, args=(upstream, client), daemon=True).start()
            self._copy(client, upstream)

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def handle_error(self, request, client_address):
        """Ignore clients that close the connection."""


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_of_the_environment_carries_all_requests(
    site, storage, network, tmp_path, monkeypatch, request, scheme
):
    with Socks5(site) as proxy:
        for name in ("all_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"{scheme}://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("no_proxy", "")
        close_session()  # the Hub client reads the proxies when it is created
        request.addfinalizer(close_session)
        site.put_repository("org/repo", {"config.json": b"{}"}, storage)
        ref = parse_ref("hf:org/repo/config.json")
        assert resolve(ref, network).files[0].size == 2
        assert proxy.connections
        before = proxy.connections
        url = site.put("/f", b"weights")
        download_file(RemoteFile(url, "f"), tmp_path / "f", network, ignore)
        assert (tmp_path / "f").read_bytes() == b"weights"
        assert proxy.connections > before
        proxy.shutdown()
