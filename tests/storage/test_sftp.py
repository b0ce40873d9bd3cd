"""SFTP: a real server on the loopback interface. Hosts that `ssh` does not know are refused, as `ssh` does."""

import pytest

paramiko = pytest.importorskip("paramiko", reason="paramiko is not installed")

from animdiff_cli.errors import NetworkError  # noqa: E402
from animdiff_cli.storage.location import location  # noqa: E402
from animdiff_cli.storage.objects import download, find, list_files, read, read_range, remove, upload  # noqa: E402
from tests.storage.sftp import serve  # noqa: E402


@pytest.fixture(scope="module")
def keys():
    return paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()


@pytest.fixture
def server(keys, tmp_path, monkeypatch):
    """A server whose folder `served` is in `tmp_path`, and a user whose key it knows. Returns its URL."""
    host_key, user_key = keys
    (tmp_path / "served").mkdir()
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    user_key.write_private_key_file(str(tmp_path / "home" / ".ssh" / "id_ecdsa"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with serve(tmp_path / "served", host_key, user_key) as port:
        line = f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n"
        (tmp_path / "home" / ".ssh" / "known_hosts").write_text(line)
        yield f"sftp://me@127.0.0.1:{port}"


def test_files_are_uploaded_whole_and_renamed(server, tmp_path):
    source, target = tmp_path / "source", location(f"{server}/night/deep/fox.gif")
    source.write_bytes(b"0123456789")
    assert find(target) is None and list_files(target.parent) == {}
    upload(source, target, replace=False)
    assert (tmp_path / "served/night/deep/fox.gif").read_bytes() == b"0123456789"
    assert [path.name for path in (tmp_path / "served/night/deep").iterdir()] == ["fox.gif"]
    found = find(target)
    assert (found.is_folder, found.size) == (False, 10) and found.version
    assert list_files(location(f"{server}/night")) == {"deep/fox.gif": found}
    assert target.parent.is_dir() and read(target, max_bytes=10) == b"0123456789"
    assert read_range(target, 3, 5) == b"34"
    with pytest.raises(FileExistsError):
        upload(source, target, replace=False)
    source.write_bytes(b"abc")
    upload(source, target, replace=True)
    download(target, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"abc"
    remove(target)
    assert find(target) is None


def test_a_host_that_ssh_does_not_know_is_refused(server, tmp_path):
    (tmp_path / "home" / ".ssh" / "known_hosts").unlink()
    with pytest.raises(NetworkError, match=r"the key of 127\.0\.0\.1 is not in known_hosts") as failure:
        find(location(f"{server}/fox.gif"))
    assert "`known_hosts`" in failure.value.hint


def test_a_user_whose_key_the_server_does_not_know_is_refused(server, tmp_path):
    (tmp_path / "home" / ".ssh" / "id_ecdsa").unlink()
    with pytest.raises(NetworkError, match="cannot look for") as failure:
        find(location(f"{server}/fox.gif"))
    assert "`ssh-agent`" in failure.value.hint
