"""The job table of the pocket study, run with real commands."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from tools.pocket.study.jobs import OUT_OF_TIME, Job, Runner, urgencies, with_needs

WRITE = "import sys; open(sys.argv[1], 'a').write('x')"
NAP = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
try:
    print("at work", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("saved")
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "work"


def runner(folder, **settings):
    settings = {"parallel": 2, "environment": {}, "tell": lambda message: None} | settings
    return Runner(folder, **settings)


def writes(folder: Path, name: str, *needs: str, words: tuple[str, ...] = (), cost: float = 1.0) -> Job:
    file = folder / f"{name}.txt"
    return Job(name, "train", file, words, needs, cost, (sys.executable, "-c", WRITE, str(file)))


def fails(folder: Path, name: str, *needs: str) -> Job:
    command = (sys.executable, "-c", "import sys; print('no memory left'); sys.exit(6)")
    return Job(name, "train", folder / name, (), needs, 1.0, command)


def test_every_job_runs_after_what_it_needs(folder):
    order = []
    jobs = [writes(folder, "page", "train"), writes(folder, "train", "data"), writes(folder, "data")]
    outcome = runner(folder, tell=order.append).run(jobs)
    assert outcome.complete
    assert [line for line in order if "begun" in line] == ["data: begun", "train: begun", "page: begun"]
    assert (folder / "page.txt").read_text() == "x"


def test_a_second_run_does_nothing_twice(folder):
    jobs = [writes(folder, "data"), writes(folder, "train", "data")]
    runner(folder).run(jobs)
    outcome = runner(folder).run(jobs)
    assert sorted(outcome.done) == ["data", "train"]
    assert (folder / "data.txt").read_text() == (folder / "train.txt").read_text() == "x"


def test_other_words_make_a_job_and_all_behind_it_anew(folder):
    behind = writes(folder, "train", "data")
    aside = writes(folder, "aside")
    runner(folder).run([writes(folder, "data", words=("--count", "1")), behind, aside])
    runner(folder).run([writes(folder, "data", words=("--count", "2")), behind, aside])
    assert (folder / "train.txt").read_text() == "xx"
    assert (folder / "aside.txt").read_text() == "x"


def test_a_result_that_was_removed_is_made_again(folder):
    jobs = [writes(folder, "data")]
    runner(folder).run(jobs)
    (folder / "data.txt").unlink()
    assert runner(folder).run(jobs).complete
    assert (folder / "data.txt").exists()


def test_a_failure_is_told_and_takes_only_what_needs_it(folder):
    jobs = [
        fails(folder, "adapter"),
        writes(folder, "module", "adapter"),
        writes(folder, "clips", "module"),
        writes(folder, "lora"),
    ]
    outcome = runner(folder).run(jobs)
    assert outcome.failed == {"adapter": "exit code 6: no memory left"}
    assert outcome.left_out == {"module": "adapter", "clips": "module"}
    assert outcome.done == ["lora"]
    assert runner(folder).ledger.failures() == outcome.failed


def test_a_job_that_failed_is_tried_again_and_then_no_failure(folder):
    runner(folder).run([fails(folder, "lora")])
    assert runner(folder).run([writes(folder, "lora")]).complete
    assert runner(folder).ledger.failures() == {}


def test_a_job_that_leaves_nothing_has_failed(folder):
    job = Job("idle", "train", folder / "never", (), command=(sys.executable, "-c", ""))
    assert "there is no" in runner(folder).run([job]).failed["idle"]


def test_what_another_phase_should_have_made_is_missed_by_name(folder):
    assert runner(folder).run([writes(folder, "train", "data")]).left_out == {"train": "data"}


def test_a_call_runs_beside_commands(folder):
    file = folder / "read.json"
    job = Job("read", "measure", file, (), ("data",), call=lambda log: file.write_text(log.name) and None)
    assert runner(folder).run([writes(folder, "data"), job]).complete
    assert file.read_text() == "read.log"


def test_the_longest_way_begins_first(folder):
    told = []
    jobs = [writes(folder, "short"), writes(folder, "first"), writes(folder, "long", "first", cost=9)]
    runner(folder, parallel=1, tell=told.append).run(jobs)
    assert [line for line in told if "begun" in line] == ["first: begun", "long: begun", "short: begun"]
    assert urgencies(jobs) == {"short": 1, "first": 10, "long": 9}


def test_when_time_is_up_commands_are_interrupted_and_the_rest_is_left(folder):
    slow = Job("slow", "train", folder / "slow", (), command=(sys.executable, "-c", NAP))
    stopped = runner(folder)
    log = folder / "logs" / "slow.log"

    def stop_once_it_works():
        while not log.exists() or not log.read_text():
            time.sleep(0.05)
        stopped.stop_at = time.monotonic()

    watcher = threading.Thread(target=stop_once_it_works)
    watcher.start()
    outcome = stopped.run([slow, writes(folder, "next", "slow")])
    watcher.join()
    assert outcome.left_out == {"slow": OUT_OF_TIME, "next": "slow"}
    assert log.read_text().split() == ["at", "work", "saved"]
    assert outcome.failed == stopped.ledger.failures() == {}


def test_the_ledger_says_what_each_result_was_made_of(folder):
    runner(folder).run([writes(folder, "data", words=("a", "b"))])
    record = json.loads((folder / "done" / "data.json").read_text())
    assert record["words"] == ["a", "b"]
    assert record["seconds"] >= 0


def test_choosing_a_job_chooses_what_it_needs(folder):
    jobs = [writes(folder, "data"), writes(folder, "train", "data"), writes(folder, "other")]
    assert [job.name for job in with_needs([jobs[1]], jobs)] == ["data", "train"]
