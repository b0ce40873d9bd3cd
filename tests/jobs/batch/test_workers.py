"""Workers in processes of their own: real processes, really killed."""

import os

import pytest

from animdiff_cli.core.events import Loading
from animdiff_cli.jobs.batch import renderer
from animdiff_cli.jobs.batch import run as runs
from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.manifest import Manifests
from animdiff_cli.jobs.batch.worker_main import Setup
from animdiff_cli.jobs.batch.workers import ProcessWorker
from animdiff_cli.jobs.loading import load_animator
from tests.jobs.batch.kills import kill_often

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


class KilledOnce(ProcessWorker):
    """A worker whose first process is killed when it exists."""

    is_killed = False

    def _started(self):
        connection = super()._started()
        if not self.is_killed:
            self.is_killed = True
            self._process.kill()
        return connection


def test_a_worker_process_that_is_killed_is_replaced_and_its_job_tried_again(plan, run, tmp_path, monkeypatch):
    folder = tmp_path / "night"
    setup = Setup("1", folder, "manifest.jsonl", "cpu", 1)
    monkeypatch.setattr(runs, "hire", lambda options, ledger, count: [KilledOnce(setup)])
    result, records = run(plan(1))
    assert (result.done, result.failed) == (1, 0)
    failed = [record for record in records if record["event"] == "failed"]
    assert [record["error"] for record in failed] == ["the worker process was ended by SIGKILL"]
    assert "fewer `--workers`" in failed[0]["hint"] and failed[0]["retry"]
    (line,) = Manifests(folder).latest().values()
    assert (line.state, line.worker, line.attempt, line.threads) == ("done", "1", 2, 1)
    by_worker = (folder / "1.gif").read_bytes()
    (folder / "manifest.jsonl").unlink()
    monkeypatch.undo()
    run(plan(1), overwrite=True)
    assert (folder / "1.gif").read_bytes() == by_worker


def test_a_batch_that_is_killed_again_and_again_is_finished_as_if_nothing_had_happened(plan, monkeypatch):
    """`make test-full` kills 100 times, workers too, while weights load as well."""
    loaded = {}

    def load(checked, device, *, emit):
        emit(Loading("the toy model"))
        if checked.files not in loaded:
            loaded[checked.files] = load_animator(checked, device)
        return loaded[checked.files]

    monkeypatch.setattr(renderer, "load_animator", load)  # the killed processes are forks of this one
    hits = kill_often(plan(*range(6)), BatchOptions(device="cpu"), kills=6, seed=13, longest=1.0)
    assert hits["main"] == 6
