import subprocess
import sys

from animdiff_cli.jobs.batch.locks import JobLocks

HOLD = """
import sys, time
from pathlib import Path
from animdiff_cli.jobs.batch.locks import JobLocks
with JobLocks(Path(sys.argv[1])).held("a") as held:
    print(held, flush=True)
    sys.stdin.read()
"""


def test_a_job_locked_by_another_process_is_passed_over_at_once_and_free_when_that_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    locks = JobLocks(tmp_path)
    with locks.held("a") as held, locks.held("b") as free:
        assert not held and free
        assert locks.is_held("a") and locks.is_held("b") and not locks.is_held("c")
    locks.clean()  # leaves the lock of the other process
    with locks.held("a") as held:
        assert not held
    other.kill()
    other.communicate()
    assert not locks.is_held("a")
    with locks.held("a") as held:
        assert held


def test_no_lock_file_stays(tmp_path):
    locks = JobLocks(tmp_path)
    with locks.held("a"):
        pass
    (locks.folder / "dead.lock").touch()  # of a process that was killed
    locks.clean()
    assert list(tmp_path.iterdir()) == []


def test_who_waits_with_the_removed_file_open_does_not_get_the_lock(tmp_path):
    """Otherwise two processes hold locks on two files of the same name."""
    locks = JobLocks(tmp_path)
    with locks.held("a") as first, locks.held("a") as second:
        assert (first, second) == (True, False)
    with locks.held("a") as first, locks.held("a") as second:
        assert (first, second) == (True, False)
