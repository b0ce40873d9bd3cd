"""Files on a storage system, with a real S3 server on the loopback interface and fsspec's memory for all others."""

import errno
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import fsspec
import pytest
import requests
from fsspec.implementations.memory import MemoryFileSystem

from animdiff_cli.errors import NetworkError, NotFound, UsageError
from animdiff_cli.storage.location import location
from animdiff_cli.storage.objects import download, find, list_files, read, read_range, remove, upload


@pytest.fixture
def memory():
    """A storage system in memory, emptied afterwards: no object store, so that files are renamed to their name."""
    yield "memory://clips"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["bucket", "memory"])
def root(request):
    return location(request.getfixturevalue(request.param))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    return path


def test_an_uploaded_file_is_found_listed_read_and_removed(root, source, tmp_path):
    target = root / "night" / "fox.gif"
    assert find(target) is None and list_files(root / "night") == {}
    upload(source, target, replace=False)
    found = find(target)
    assert (found.is_folder, found.size, bool(found.version)) == (False, 10, True)
    assert target.exists() and target.parent.is_dir() and not target.is_dir()
    assert list_files(root) == {"night/fox.gif": found}
    assert list_files(root / "night") == {"fox.gif": found}
    assert read(target, max_bytes=10) == b"0123456789" and read_range(target, 3, 5) == b"34"
    download(target, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123456789"
    remove(target)
    assert find(target) is None


def test_a_file_is_replaced_only_if_asked_to(root, source):
    target = root / "fox.gif"
    upload(source, target, replace=False)
    before = find(target)
    source.write_bytes(b"abcdefghij")
    with pytest.raises(FileExistsError):
        upload(source, target, replace=False)
    assert find(target) == before
    upload(source, target, replace=True)
    assert read(target, max_bytes=100) == b"abcdefghij"
    assert find(target).version != before.version
    assert list(list_files(root)) == ["fox.gif"]


def test_two_programs_never_replace_each_others_object(bucket, source, monkeypatch):
    target = location(bucket) / "fox.gif"
    fs = fsspec.filesystem("s3")
    monkeypatch.setattr(fs, "exists", lambda name: False)  # the other program is faster
    upload(source, target, replace=False)
    with pytest.raises(FileExistsError):
        upload(source, target, replace=False)


def test_a_large_file_is_refused_where_a_small_one_is_read(root, source):
    upload(source, root / "x.yaml", replace=False)
    with pytest.raises(ValueError, match="larger than 9 bytes"):
        read(root / "x.yaml", max_bytes=9)


def test_an_interrupted_upload_leaves_nothing(memory, source, monkeypatch):
    def cut(self, local, name, **more):
        self.pipe_file(name, b"01")
        raise OSError(errno.ECONNRESET, "connection reset by peer")

    monkeypatch.setattr(MemoryFileSystem, "put_file", cut)
    with pytest.raises(NetworkError, match=r"cannot write `memory://clips/fox.gif`.*connection reset"):
        upload(source, location(memory) / "fox.gif", replace=True)
    assert list_files(location(memory)) == {}


def test_an_upload_of_another_size_is_reported(memory, source, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda self, local, name, **more: self.pipe_file(name, b"01"))
    with pytest.raises(NetworkError, match="has 2 bytes after the upload, not 10"):
        upload(source, location(memory) / "fox.gif", replace=True)


def test_a_missing_bucket_is_not_found(bucket, source):
    missing = location("s3://no-such-bucket-here/fox.gif")
    assert find(missing) is None
    with pytest.raises(NotFound, match="no such file, folder or bucket"):
        upload(source, missing, replace=True)
    with pytest.raises(NotFound):
        read(missing, max_bytes=1)


@pytest.fixture
def new_connections():
    """Let the next call connect anew: fsspec keeps one connection for each server."""
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def test_rejected_credentials_are_a_network_error_that_does_not_show_them(bucket, s3_server):
    requests.post(f"{s3_server}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        with pytest.raises(NetworkError, match="permission denied") as failure:
            find(location(bucket) / "fox.gif")
    finally:
        requests.post(f"{s3_server}/moto-api/reset-auth", data=b"inf", timeout=10)
    assert "`AWS_ACCESS_KEY_ID`" in failure.value.hint
    assert "test-secret" not in str(failure.value) + failure.value.hint


def test_missing_credentials_are_a_network_error(bucket, monkeypatch, new_connections):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(NetworkError, match="credentials") as failure:
        find(location(bucket) / "fox.gif")
    assert "`aws configure`" in failure.value.hint


def test_a_server_that_does_not_answer_is_a_network_error(bucket, monkeypatch, new_connections):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"cannot look for .* connect") as failure:
        find(location(bucket) / "fox.gif")
    assert "`AWS_ENDPOINT_URL`" in failure.value.hint


class Answers(BaseHTTPRequestHandler):
    """Answers `/500.png` with status 500, and so on."""

    def do_HEAD(self):
        self.send_error(int(self.path[1:4]))

    def do_GET(self):
        self.do_HEAD()

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_web_server_without_the_file_is_told_from_one_that_fails_or_does_not_answer(web):
    assert find(location(f"{web}/404.png")) is None
    for url, reason in ((f"{web}/500.png", "500"), (f"{web}/403.png", "403"), ("http://127.0.0.1:9/a.png", "connect")):
        with pytest.raises(NetworkError, match=reason):
            find(location(url))


@pytest.mark.parametrize(
    ("url", "package", "command"),
    [
        ("gs://b/x", "gcsfs", "pip install 'animdiff[remote]'"),
        ("s3://b/x", "s3fs", "pip install 'animdiff[remote]'"),
        ("oss://b/x", "ossfs", "pip install ossfs"),
    ],
)
def test_a_missing_package_is_named_with_its_command(url, package, command, monkeypatch):
    def missing(*given, **more):
        raise ImportError(f"Install {package}")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UsageError, match=f"need the package `{package}`") as failure:
        find(location(url))
    assert command in failure.value.hint
