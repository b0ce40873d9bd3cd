"""Runs of whole batches in this process: what is skipped, rendered again, retried and refused."""

import errno
import os
import resource
import signal
from collections import Counter
from contextlib import ExitStack

import pytest
from diffusers import UNet2DConditionModel

from animdiff_cli.core.events import Loading
from animdiff_cli.errors import UsageError
from animdiff_cli.files.leftovers import hidden_suffix
from animdiff_cli.jobs.batch import renderer
from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.fingerprint import fingerprints
from animdiff_cli.jobs.batch.locks import JobLocks
from animdiff_cli.jobs.batch.manifest import Manifests
from animdiff_cli.jobs.batch.run import run_batch
from animdiff_cli.jobs.batch.shards import Shard
from animdiff_cli.jobs.batch.stamps import is_whole
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.outputs import read_recipe

needs_limits = pytest.mark.skipif(os.name != "posix", reason="POSIX limits")


_LOADED = {}


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    """Keep the loaded weights of the toy model from run to run."""

    def load(checked, plan, *, emit):
        emit(Loading("the toy model"))
        if checked.files not in _LOADED:
            _LOADED[checked.files] = load_animator(checked, plan)
        return _LOADED[checked.files]

    monkeypatch.setattr(renderer, "load_animator", load)


def events(records):
    return dict(Counter(record["event"] for record in records))


def messages(records):
    return [record["message"] for record in records if record["event"] == "note"]


def counts(result):
    return (result.done, result.skipped, result.failed, result.left)


@pytest.fixture
def manifest(tmp_path):
    """Read the last line of each job, by its seed."""

    def read():
        latest = Manifests(tmp_path / "night").latest()
        return {line.config["seed"]: line for line in latest.values()}

    return read


def test_a_batch_is_rendered_once_and_recorded(plan, run, night, manifest, tmp_path):
    result, records = run(plan(1, 2))
    assert counts(result) == (2, 0, 0, 0) and result.exit_code == 0
    assert night() == ["1.gif", "2.gif", "manifest.jsonl"]
    for seed, line in manifest().items():
        assert line.state == "done" and line.seconds > 0 and is_whole(tmp_path / "night", line.outputs["gif"])
        assert line.outputs["gif"].path == f"{seed}.gif"
        recipe = read_recipe(tmp_path / "night" / f"{seed}.gif")["config"]
        assert all(recipe[key] == line.config[key] for key in ("prompt", "seed", "steps", "num_frames", "model"))
    assert events(records)["done"] == 2 and events(records)["loading"] == 1
    result, records = run(plan(1, 2, 3))
    assert counts(result) == (1, 2, 0, 0)
    assert events(records)["skipped"] == 2 and events(records)["done"] == 1


def test_events_are_in_order_and_name_the_job(plan, run):
    _, records = run(plan(1))
    names = [record["event"] for record in records]
    assert names[:2] == ["queued", "started"] and names[-2:] == ["written", "done"]
    assert len({record["job"] for record in records}) == 1


def test_a_finished_clip_whose_file_was_edited_or_deleted_is_rendered_again(plan, run, tmp_path):
    run(plan(1, 2, 3))
    clips = [tmp_path / "night" / f"{seed}.gif" for seed in (1, 2, 3)]
    before = [clip.read_bytes() for clip in clips]
    clips[0].unlink()
    clips[1].write_bytes(b"x" * len(before[1]))
    result, records = run(plan(1, 2, 3))
    assert counts(result) == (2, 1, 0, 0)
    assert messages(records) == [
        f"`{clips[0]}` was removed since it was rendered: it is rendered again",
        f"`{clips[1]}` was changed since it was rendered: it is rendered again",
    ]
    assert [clip.read_bytes() for clip in clips] == before


def test_a_job_that_was_started_by_a_killed_process_is_taken_up_and_its_leftovers_are_removed(
    plan, run, night, manifest, tmp_path
):
    run(plan(1))
    path = tmp_path / "night" / "manifest.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))  # queued and started
    dead = tmp_path / "night" / f".1.gif{hidden_suffix('partial')}".replace(str(os.getpid()), "9999999")
    dead.write_bytes(b"half")
    other = tmp_path / "night" / ".mine.txt"
    other.write_text("keep")
    result, _ = run(plan(1))
    assert counts(result) == (1, 0, 0, 0) and manifest()[1].attempt == 2
    assert night() == [".mine.txt", "1.gif", "manifest.jsonl"]


def test_another_number_of_cpu_threads_is_said_once(plan, run, tmp_path):
    run(plan(1))
    path = tmp_path / "night" / "manifest.jsonl"
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 2'))
    _, records = run(plan(1, 2, 3))
    (said,) = messages(records)
    assert said.startswith("clips of this batch were rendered with 2 CPU threads, and now with 1")
    assert "`--threads 2`" in said


def test_a_file_of_somebody_else_is_not_replaced(plan, run, night, tmp_path):
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "2.gif").write_text("mine")
    with pytest.raises(UsageError, match=r"2.gif` exists, and was not rendered with these settings"):
        run(plan(1, 2, 3))
    assert night() == ["2.gif"]
    result, _ = run(plan(1, 2, 3), overwrite=True)
    assert counts(result) == (3, 0, 0, 0)


def test_other_settings_do_not_replace_the_clips_of_before_unless_asked_to(plan, run):
    run(plan(1))
    with pytest.raises(UsageError, match="was not rendered with these settings"):
        run(plan(1, steps=2))
    result, _ = run(plan(1, steps=2), overwrite=True)
    assert counts(result) == (1, 0, 0, 0)


@pytest.fixture
def blocked(plan, tmp_path):
    """Plan a batch, and put a folder where its first clip is to be written: that job fails when it is rendered."""

    def planned(*seeds):
        batch = plan(*seeds)
        (tmp_path / "night" / f"{seeds[0]}.gif").mkdir(parents=True)
        return batch

    return planned


def test_a_job_that_fails_does_not_stop_the_others(plan, blocked, run, manifest, tmp_path):
    result, records = run(blocked(1, 2), overwrite=True)
    assert counts(result) == (1, 0, 1, 0) and result.exit_code == 7
    failed = next(record for record in records if record["event"] == "failed")
    assert "is a folder, so it is not replaced" in failed["error"] and failed["code"] == 2 and not failed["retry"]
    assert manifest()[1].state == "failed" and "is a folder" in manifest()[1].error.message
    (tmp_path / "night" / "1.gif").rmdir()
    result, _ = run(plan(1, 2))
    assert counts(result) == (1, 1, 0, 0) and manifest()[1].attempt == 2


def test_without_keep_going_the_first_failure_is_the_last_job(blocked, run):
    result, _ = run(blocked(1, 2, 3), overwrite=True, keep_going=False)
    assert counts(result) == (0, 0, 1, 2) and result.exit_code == 7


def test_a_job_is_retried_as_often_as_asked(blocked, run):
    result, records = run(blocked(1), overwrite=True, retry=2)
    failed = [record for record in records if record["event"] == "failed"]
    assert [record["attempt"] for record in failed] == [1, 2, 3]
    assert [record["retry"] for record in failed] == [True, True, False]
    assert counts(result) == (0, 0, 1, 0)


def test_a_bug_in_one_job_keeps_its_traceback_and_the_others_go_on(plan, run, manifest, monkeypatch):
    forward = UNet2DConditionModel.forward
    calls = []

    def broken(*given, **more):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return forward(*given, **more)

    monkeypatch.setattr(UNet2DConditionModel, "forward", broken)
    result, _ = run(plan(1, 2))
    assert counts(result) == (1, 0, 1, 0)
    assert manifest()[1].error.message == "RuntimeError: a bug" and manifest()[1].error.code == 1
    assert "in broken" in manifest()[1].error.traceback


def test_no_clip_is_begun_after_the_disk_is_full(plan, run, manifest, monkeypatch):
    def full(*given, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(UNet2DConditionModel, "forward", full)
    result, records = run(plan(1, 2, 3), retry=2)
    assert counts(result) == (0, 0, 1, 2) and result.exit_code == 7
    assert "the disk is full: no further clip is begun" in messages(records)
    assert manifest()[1].state == "failed" and "no space left" in manifest()[1].error.message


@needs_limits
def test_a_file_that_the_disk_does_not_take_fails_its_job_alone(plan, run, night, manifest):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    batch = plan(1, 2, num_frames=2)
    large = plan(3, num_frames=16)
    both = type(batch)(batch.output, (*batch.jobs, *large.jobs), batch.groups, batch.notes)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limit[1]))
    try:
        result, _ = run(both)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert counts(result) == (2, 0, 1, 0)
    assert "larger than this system allows" in manifest()[3].error.message
    assert night() == ["1.gif", "2.gif", "manifest.jsonl"]


def test_shards_render_every_job_once_and_know_of_each_other(plan, run, night):
    parts = [run(plan(1, 2, 3, 4, 5), shard=Shard(index, 2))[0] for index in (1, 2)]
    assert [counts(part) for part in parts] == [(2, 0, 0, 0), (3, 0, 0, 0)]
    assert night() == [*(f"{seed}.gif" for seed in range(1, 6)), "manifest-1-of-2.jsonl", "manifest-2-of-2.jsonl"]
    assert counts(run(plan(1, 2, 3, 4, 5))[0]) == (0, 5, 0, 0)


@pytest.fixture
def signals_at(monkeypatch):
    """Send signals at the start of calls of the UNet, counted from 1."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background

    def arrange(**at):
        calls, forward = [], UNet2DConditionModel.forward

        def signalled(*given, **more):
            calls.append(1)
            for name, numbers in at.items():
                if len(calls) in numbers:
                    signal.raise_signal(getattr(signal, name))
            return forward(*given, **more)

        monkeypatch.setattr(UNet2DConditionModel, "forward", signalled)

    yield arrange
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_finishes_the_clip(plan, run, night, manifest, signals_at, name):
    signals_at(**{name: [1]})
    result, records = run(plan(1, 2, 3, steps=3))
    assert counts(result) == (1, 0, 0, 2) and result.exit_code == 130
    assert "Ctrl-C again stops at once" in messages(records)[0]
    assert night() == ["1.gif", "manifest.jsonl"]
    assert {seed: line.state for seed, line in manifest().items()} == {1: "done", 2: "queued", 3: "queued"}
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_the_second_signal_stops_at_once(plan, run, night, manifest, signals_at):
    signals_at(SIGINT=[1, 2])
    result, records = run(plan(1, 2, steps=3))
    assert counts(result) == (0, 0, 0, 2) and result.exit_code == 130
    assert events(records)["interrupted"] == 1
    assert night() == ["manifest.jsonl"]
    assert {seed: line.state for seed, line in manifest().items()} == {1: "interrupted", 2: "queued"}


def test_a_signal_during_the_last_clip_changes_nothing(plan, run, signals_at):
    signals_at(SIGINT=[1])
    assert run(plan(1))[0].exit_code == 0


def test_a_job_that_another_process_renders_is_passed_over_and_looked_at_again(plan, tmp_path):
    batch = plan(1, 2, 3)
    elsewhere = JobLocks(tmp_path / "night")
    first, second, _ = fingerprints(batch)
    records = []
    with ExitStack() as still, ExitStack() as soon:
        assert still.enter_context(elsewhere.held(first)) and soon.enter_context(elsewhere.held(second))

        def write(record):
            records.append(record)
            if record["event"] == "done":
                soon.close()  # the other process was killed

        result = run_batch(batch, BatchOptions(device="cpu"), write)
    assert (result.done, result.locked, result.left, result.exit_code) == (2, 1, 0, 0)
    assert messages(records) == ["another process is still rendering 1 clip of this batch"]


def test_a_job_that_another_process_has_rendered_meanwhile_is_not_rendered_again(plan, run, night, tmp_path):
    batch = plan(1, 2)
    job = fingerprints(batch)[1]
    outcomes = []

    def write(record):
        if record["event"] == "done" and record["job"] != job:
            outcomes.append(run(batch))  # another run renders the second job while the first run has it queued

    result = run_batch(batch, BatchOptions(device="cpu"), write)
    assert counts(outcomes[0][0])[0] == 1
    assert counts(result) == (1, 1, 0, 0)
