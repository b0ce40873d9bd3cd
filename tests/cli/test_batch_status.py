"""`animdiff batch status`: how far a batch is, from its manifest."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from animdiff_cli.cli import batch_status
from animdiff_cli.jobs.batch.locks import JobLocks
from animdiff_cli.jobs.batch.manifest import Failure, Line, Manifests


@pytest.fixture
def night(here):
    """Append lines to a manifest in `night/`, some time ago."""

    def write(job, state, *, minutes=0.0, manifest="manifest.jsonl", **more):
        moment = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
        line = Line(time=moment, job=job, state=state, name=f"night.yaml:{job}", config={"seed": 1}, **more)
        Manifests(here / "night", manifest).append(line)

    return write


@pytest.fixture
def under_way(night, here):
    """A batch with two clips done, one running, and one of each other state; its locks are held while a test runs."""
    for number in range(1, 8):
        night(str(number), "queued", minutes=10)
    for number in (1, 2):
        night(str(number), "started", minutes=9)
        night(str(number), "done", minutes=8, seconds=30)
    night("6", "interrupted", minutes=4, manifest="manifest-2-of-2.jsonl")
    night("3", "started", minutes=2, worker="1")
    night("4", "started", minutes=5)  # its process was killed
    night("5", "failed", minutes=3, attempt=2, error=Failure(message="out of memory", hint="fewer frames", code=6))
    with JobLocks(here / "night").held("3"):
        yield


def test_counts_speed_and_the_clips_that_are_not_done(under_way, animdiff):
    for name in ("night", "night/", "night/manifest.jsonl"):
        result = animdiff("batch", "status", name)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.splitlines() == [
            "7 clips: 2 done, 1 running, 1 failed, 2 interrupted, 1 waiting",
            "120 clips/h, 1 min 45 s left",  # 30 s each: 3 clips, and half of the running one
            "",
            "STATE        SINCE         CLIP",
            "running      2 min 0 s     worker 1: night.yaml:3",
            "failed       3 min 0 s     night.yaml:5, attempt 2: out of memory",
            "interrupted  5 min 0 s     night.yaml:4",
            "interrupted  4 min 0 s     night.yaml:6",
        ]


def test_json_has_the_same(under_way, animdiff):
    record = json.loads(animdiff("batch", "status", "night", "--json").stdout)
    assert record["clips"] == 7
    assert record["counts"] == {"done": 2, "running": 1, "failed": 1, "interrupted": 2, "waiting": 1}
    assert (record["clips_per_hour"], record["seconds_left"]) == (120, 105)
    (failed,) = record["failed"]
    assert failed["error"] == {"message": "out of memory", "hint": "fewer frames", "code": 6, "traceback": None}
    assert (failed["job"], failed["name"], failed["attempt"]) == ("5", "night.yaml:5", 2)
    assert [line["job"] for line in record["interrupted"]] == ["4", "6"]


@pytest.mark.parametrize("as_json", [True, False])
def test_watch_prints_changes_until_all_has_ended(night, animdiff, monkeypatch, as_json):
    night("1", "queued")
    night("2", "queued")
    changes = [[("1", "started")], [], [("1", "done"), ("2", "failed")]]

    def sleep(seconds):
        for job, state in changes.pop(0):
            night(job, state)

    monkeypatch.setattr(batch_status.time, "sleep", sleep)
    printed = animdiff("batch", "status", "night", "--watch", *(["--json"] if as_json else [])).stdout.splitlines()
    if as_json:
        assert [json.loads(line)["counts"]["done"] for line in printed] == [0, 0, 1]
    else:
        assert printed == [
            "2 clips: 0 done, 2 waiting",
            "2 clips: 0 done, 1 interrupted, 1 waiting",  # nobody holds its lock
            "2 clips: 1 done, 1 failed",
        ]
    assert not changes


def test_a_damaged_line_is_said_and_a_strange_time_is_left_out(night, animdiff, here):
    night("1", "failed", error=Failure(message="\x1b[2J"))
    text = (here / "night/manifest.jsonl").read_text()
    time = json.loads(text)["time"]
    (here / "night/manifest.jsonl").write_text(text.replace(time, "soon") + "{}\n")
    result = animdiff("batch", "status", "night")
    assert "manifest.jsonl:2` is damaged" in result.stderr
    assert result.stdout.splitlines()[-1] == r"failed                     night.yaml:1: \x1b[2J"


@pytest.mark.parametrize("name", ["night", "night/manifest.jsonl", "other.gif"])
def test_3_where_no_batch_is(animdiff, name, here):
    (here / "other.gif").touch()
    result = animdiff("batch", "status", name)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"no manifest of a batch in `{name}`" in result.stderr and "hint: " in result.stderr
