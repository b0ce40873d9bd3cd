import os
import stat
from pathlib import Path

import pytest

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.serve.registration import Address, find_running, registered

ADDRESS = Address("http://127.0.0.1:1", "0123456789abcdef")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """An empty folder of state."""
    monkeypatch.setenv("ANIMDIFF_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_running_server_is_found_with_its_token_until_it_ends():
    with registered(ADDRESS) as is_registered:
        assert is_registered
        assert find_running() == ADDRESS
    with pytest.raises(NotFound) as error:
        find_running()
    assert "animdiff serve" in error.value.hint


def test_only_the_owner_can_read_it(state):
    before = os.umask(0)
    try:
        with registered(ADDRESS):
            modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in (state, *state.iterdir())}
    finally:
        os.umask(before)
    assert modes == {"": 0o700, ".json": 0o600, ".lock": 0o600}


def test_a_second_server_is_not_registered():
    with registered(ADDRESS), registered(Address("http://127.0.0.1:2")) as is_registered:
        assert not is_registered
        assert find_running() == ADDRESS


def test_what_a_killed_server_left_is_removed(state):
    with registered(ADDRESS):
        (file,) = state.glob("*.json")
        left = file.read_bytes()
    file.write_bytes(left)  # nobody holds the lock
    with pytest.raises(NotFound):
        find_running()
    assert not file.exists()
    with registered(ADDRESS) as is_registered:
        assert is_registered


@pytest.mark.parametrize("spoil", [lambda file: file.chmod(0o644), lambda file: file.rename(f"{file}.x").symlink_to])
def test_a_file_that_others_could_have_written_is_not_trusted(state, spoil):
    with registered(ADDRESS):
        (file,) = state.glob("*.json")
        if spoil(file):
            file.symlink_to(Path(f"{file}.x"))
        with pytest.raises(UsageError, match="is not trusted"):
            find_running()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"url": 1}', "\0"])
def test_a_damaged_file_is_reported(state, content):
    with registered(ADDRESS):
        (file,) = state.glob("*.json")
        file.write_text(content)
        with pytest.raises(NotFound, match="cannot read"):
            find_running()
