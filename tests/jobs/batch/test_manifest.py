import json
import os
import resource
import subprocess
import sys

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.batch.manifest import Line, Manifests


def line(state, job="a", **more):
    return Line(job=job, state=state, name="night.yaml:1", config={"seed": 1}, **more)


def test_the_last_line_of_a_job_counts(tmp_path):
    manifests = Manifests(tmp_path)
    manifests.append(line("started"), line("started", "b"))
    manifests.append(line("done", seconds=1.5))
    latest = Manifests(tmp_path).latest()
    assert {job: one.state for job, one in latest.items()} == {"a": "done", "b": "started"}
    assert latest["a"].seconds == 1.5


def test_a_line_is_one_json_object_with_the_keys_of_its_state(tmp_path):
    Manifests(tmp_path).append(line("started", worker="2", attempt=3))
    record = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "version": 1,
        "job": "a",
        "state": "started",
        "name": "night.yaml:1",
        "worker": "2",
        "attempt": 3,
        "config": {"seed": 1},
    }


def test_queued_does_not_replace_what_another_process_has_recorded(tmp_path):
    Manifests(tmp_path).append(line("done"))
    Manifests(tmp_path).append(line("queued"))
    assert Manifests(tmp_path).latest()["a"].state == "done"


def test_only_what_was_appended_is_read_again(tmp_path):
    reader, writer = Manifests(tmp_path), Manifests(tmp_path)
    assert reader.latest() == {}
    writer.append(line("started"))
    assert reader.latest()["a"].state == "started"
    writer.path.write_bytes(b" " * writer.path.stat().st_size)  # would be read as damaged
    writer.append(line("done"))
    assert reader.latest()["a"].state == "done" and reader.notes == []


def test_a_line_whose_writer_was_killed_is_ignored_and_said(tmp_path):
    manifests = Manifests(tmp_path)
    manifests.append(line("done"))
    with manifests.path.open("ab") as file:
        file.write(b'{"version": 1, "job": "b", "sta')
    torn = Manifests(tmp_path)
    assert set(torn.latest()) == {"a"}
    assert torn.notes == [f"the last line of `{manifests.path}` is incomplete and not used: its writer was stopped"]
    torn.append(line("done", "c"))
    assert set(torn.latest()) == set(Manifests(tmp_path).latest()) == {"a", "c"}
    assert torn.notes[1:] == [f"`{manifests.path}:2` is damaged and not used"]


def test_the_manifests_of_shards_are_read_together_and_the_latest_line_counts(tmp_path):
    Manifests(tmp_path, "manifest-1-of-2.jsonl").append(line("failed", time="2026-01-01T00:00:02.000+00:00"))
    Manifests(tmp_path, "manifest-2-of-2.jsonl").append(line("done", time="2026-01-01T00:00:01.000+00:00"))
    Manifests(tmp_path).append(line("done", "b"))
    assert {job: one.state for job, one in Manifests(tmp_path).latest().items()} == {"a": "failed", "b": "done"}


def test_a_manifest_of_a_later_version_is_refused(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"version": 2, "job": "a"}\n')
    with pytest.raises(UsageError, match=r"manifest.jsonl:1` was written by a later animdiff"):
        Manifests(tmp_path).latest()


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_on_a_full_disk_no_half_line_stays(tmp_path):
    manifests = Manifests(tmp_path)
    manifests.append(line("done"))
    before = manifests.path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limit[1]))  # a write past it is cut, then fails
    try:
        with pytest.raises(UsageError, match="larger than this system allows"):
            manifests.append(line("done", "b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert manifests.path.read_bytes() == before


APPEND = """
import sys
from pathlib import Path
from animdiff_cli.jobs.batch.manifest import Line, Manifests
manifests = Manifests(Path(sys.argv[1]))
for number in range(100):
    manifests.append(Line(job=f"{sys.argv[2]}-{number}", state="done", name="x" * 500, config={}))
"""


def test_lines_of_two_processes_do_not_mix(tmp_path):
    words = [sys.executable, "-c", APPEND, str(tmp_path)]
    processes = [subprocess.Popen([*words, name]) for name in ("a", "b")]
    assert [process.wait() for process in processes] == [0, 0]
    manifests = Manifests(tmp_path)
    assert len(manifests.latest()) == 200 and manifests.notes == []
