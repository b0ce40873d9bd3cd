"""Atomic writes leave the complete new file or the old one."""

import os
import signal
import subprocess
import sys

import pytest

from animdiff_cli.files import atomic
from animdiff_cli.files.atomic import MAX_NAME_BYTES, atomic_write, atomic_write_text, hidden_sibling
from animdiff_cli.files.leftovers import MAX_IDLE_S, hidden_suffix

DEAD_PID = 4_194_304  # above the largest PID of Linux
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX processes")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as hidden:
        hidden.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale").touch()
    with atomic_write(folder) as hidden:
        hidden.mkdir()
        (hidden / "fresh").touch()
    assert [path.name for path in folder.iterdir()] == ["fresh"]
    assert list(tmp_path.iterdir()) == [folder]


def test_text_is_utf8_and_missing_folders_are_created(tmp_path):
    path = tmp_path / "new" / "a.json"
    atomic_write_text(path, "é\n", newline="\n")
    assert path.read_bytes() == b"\xc3\xa9\n"


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchange(request, monkeypatch):
    """Replace folders with and without the system's exchange of two paths."""
    if not request.param:
        monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
    elif sys.platform != "linux":
        pytest.skip("only Linux exchanges paths")
    return request.param


def write_folder(target, text):
    with atomic_write(target) as hidden:
        hidden.mkdir()
        (hidden / "text").write_text(text)


@posix
@pytest.mark.parametrize("killed_at", ["rename", "rmtree"])
def test_a_folder_survives_a_kill_while_it_is_replaced(tmp_path, exchange, killed_at):
    target = tmp_path / "model"
    write_folder(target, "old")
    if (pid := os.fork()) == 0:
        if killed_at == "rmtree":
            atomic.shutil.rmtree = lambda path: os.kill(os.getpid(), signal.SIGKILL)
        else:
            rename, calls = type(target).rename, []

            def second_rename_kills(self, new):
                calls.append(new)
                return os.kill(os.getpid(), signal.SIGKILL) if len(calls) == 2 else rename(self, new)

            type(target).rename = second_rename_kills
        write_folder(target, "new")
        os._exit(0)
    os.waitpid(pid, 0)
    if exchange:
        assert target.is_dir()
    atomic_write_text(tmp_path / "other", "x")
    atomic.sweep(tmp_path)
    assert (target / "text").read_text() in ("old", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


@posix
def test_the_next_write_removes_what_a_killed_process_left(tmp_path):
    code = """
import os, sys
from pathlib import Path
from animdiff_cli.files.atomic import atomic_write
with atomic_write(Path(sys.argv[1], "a")) as hidden, atomic_write(Path(sys.argv[1], "b")) as folder:
    hidden.write_text("half")
    folder.mkdir()
    (folder / "part").touch()
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(tmp_path / "c") as hidden:
        hidden.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@posix
def test_files_of_running_processes_and_of_other_programs_are_kept(tmp_path, monkeypatch):
    own = hidden_suffix("partial")
    pid, start, machine = own.removeprefix(".partial-").split("-")
    kept = [
        f".a{own}",
        f".a.partial-{pid}",
        f".a.partial-{os.getppid()}",
        ".a.partial-1",
        f".a.partial-{DEAD_PID}-{start}-00000000",  # another machine
        f".a.partial-{DEAD_PID}.txt",
        f"a.partial-{DEAD_PID}",
        ".a.partial-",
        f".a.part-{DEAD_PID}",
    ]
    removed = [
        f".a.partial-{DEAD_PID}",
        f".a.partial-{DEAD_PID}-{start}-{machine}",
        f".a.partial-{DEAD_PID}-0-00000000",  # another machine, unchanged for days
    ]
    if sys.platform == "linux":
        removed.append(f".a.partial-{pid}-{int(start) + 1}-{machine}")  # the PID of another process, used again
    for name in kept + removed:
        (tmp_path / name).touch()
    days_ago = (tmp_path / removed[2]).stat().st_mtime - MAX_IDLE_S - 1
    os.utime(tmp_path / removed[2], (days_ago, days_ago))
    with hidden_sibling(tmp_path / "new"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@posix
def test_a_replaced_folder_is_removed_if_its_successor_exists(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / f".model.replaced-{DEAD_PID}").mkdir()
    (tmp_path / f".lost.replaced-{DEAD_PID}").mkdir()
    with hidden_sibling(tmp_path / "new"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lost", "model"]


@pytest.mark.parametrize("name", ["é" * 127, "n" * MAX_NAME_BYTES])
def test_the_longest_name_of_a_file_system_can_be_written(tmp_path, name):
    atomic_write_text(tmp_path / name, "x")
    write_folder(tmp_path / f"f{name}"[:200], "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"f{name}"[:200]])
