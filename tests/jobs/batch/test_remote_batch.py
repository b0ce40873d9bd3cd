"""Batches whose outputs are on a storage system: whole, skipped when done, and taken up by another machine."""

import json
import shutil

import numpy as np
import pytest

from animdiff_cli.errors import NetworkError, NotFound
from animdiff_cli.jobs.batch import mirror
from animdiff_cli.jobs.batch.mirror import Listing, Mirror, state_folder
from animdiff_cli.jobs.batch.records import BatchPlan
from animdiff_cli.jobs.batch.resume import pending
from animdiff_cli.jobs.batch.run import run_batch
from animdiff_cli.jobs.batch.shards import Shard
from animdiff_cli.jobs.batch.stamps import is_whole, stamp
from animdiff_cli.jobs.batch.status import StatusReader
from animdiff_cli.outputs import store_clip
from animdiff_cli.storage.inputs import local_input
from animdiff_cli.storage.location import location
from animdiff_cli.storage.objects import list_files, read, remove, upload


@pytest.fixture
def remote(plan, bucket, monkeypatch, tmp_path):
    """Plan one clip for each seed, in the folder `night` of a bucket."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "cache"))
    return lambda *seeds, **more: BatchPlan(f"{bucket}/night", *planned_parts(plan(*seeds, **more)))


def planned_parts(planned):
    return planned.jobs, planned.groups, planned.notes


@pytest.fixture
def names(bucket):
    return lambda: sorted(list_files(location(f"{bucket}/night")))


@pytest.fixture
def state(bucket):
    """The folder of manifests and locks on this machine. Removed, it is another machine."""
    return lambda: state_folder(location(f"{bucket}/night"))


def manifest(bucket, name="manifest.jsonl"):
    text = read(location(f"{bucket}/night/{name}"), max_bytes=1 << 20)
    return [json.loads(line) for line in text.splitlines()]


def test_clips_and_manifest_are_uploaded_and_found_again(remote, run, bucket, names, tmp_path):
    result, records = run(remote(1, 2))
    assert (result.done, result.failed) == (2, 0)
    assert names() == ["1.gif", "2.gif", "manifest.jsonl"]
    assert {line["state"] for line in manifest(bucket)} == {"queued", "started", "done"}
    done = [record for record in records if record["event"] == "done"]
    assert done[0]["outputs"] == {"gif": f"{bucket}/night/1.gif"}
    assert not (tmp_path / "night").exists()
    result, records = run(remote(1, 2))
    assert (result.done, result.skipped) == (0, 2)


def test_the_status_is_read_from_the_storage_system(remote, run, bucket, state):
    run(remote(1, 2))
    shutil.rmtree(state())  # another machine
    for name in ("night", "night/", "night/manifest.jsonl"):
        assert StatusReader(f"{bucket}/{name}").read().summary() == "2 clips: 2 done"
    with pytest.raises(NotFound, match="no manifest of a batch"):
        StatusReader(f"{bucket}/day").read()


def test_a_clip_that_was_changed_or_removed_is_rendered_again_and_said(remote, run, bucket, tmp_path):
    run(remote(1, 2))
    whole = local_input(f"{bucket}/night/2.gif").read_bytes()
    (tmp_path / "other").write_bytes(whole[:-1] + b"?")  # as large as before
    upload(tmp_path / "other", location(f"{bucket}/night/2.gif"), replace=True)
    remove(location(f"{bucket}/night/1.gif"))
    result, records = run(remote(1, 2))
    assert (result.done, result.skipped) == (2, 0)
    notes = [record["message"] for record in records if record["event"] == "note"]
    assert any("2.gif` was changed since" in note for note in notes)
    assert any("1.gif` was removed since" in note for note in notes)
    assert local_input(f"{bucket}/night/2.gif").read_bytes() == whole


def test_shards_on_several_machines_know_what_the_others_did(remote, run, state, names, bucket):
    assert run(remote(1, 2), shard=Shard(1, 2))[0].done == 1
    shutil.rmtree(state())
    assert run(remote(1, 2), shard=Shard(2, 2))[0].done == 1
    shutil.rmtree(state())
    assert names() == ["1.gif", "2.gif", "manifest-1-of-2.jsonl", "manifest-2-of-2.jsonl"]
    assert run(remote(1, 2))[0].skipped == 2  # a third machine
    shutil.rmtree(state())
    assert run(remote(1, 2), shard=Shard(1, 2))[0].skipped == 1
    assert [line["state"] for line in manifest(bucket, "manifest-1-of-2.jsonl")] == ["queued", "started", "done"]


def test_a_folder_of_frames_is_whole_if_all_its_files_are(bucket, tmp_path):
    folder, frames = location(f"{bucket}/night"), np.zeros((2, 8, 8, 3), np.uint8)
    store_clip(frames, 8, folder / "1", "frames", {"seed": 1})
    local = store_clip(frames, 8, tmp_path / "1", "frames", {"seed": 1})
    recorded = stamp(folder, "1")
    assert recorded.model_copy(update={"version": None}) == stamp(local.parent, "1")
    assert is_whole(folder, recorded) and is_whole(folder, recorded, Listing(list_files(folder)))
    remove(folder / "1" / "00001.png")
    assert not is_whole(folder, recorded) and not is_whole(folder, recorded, Listing(list_files(folder)))


def test_foreign_files_are_not_replaced(remote, run, bucket, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    upload(tmp_path / "mine", location(f"{bucket}/night/1.gif"), replace=False)
    with pytest.raises(Exception, match=r"night/1\.gif` exists, and was not rendered with these settings"):
        run(remote(1))
    assert run(remote(1), overwrite=True)[0].done == 1


def test_a_failed_upload_of_a_clip_fails_its_job_alone(remote, run, monkeypatch, names):
    from animdiff_cli.storage import outputs

    def cut(source, target, *, replace):
        if target.name == "1.gif":
            raise NetworkError("connection lost")
        upload(source, target, replace=replace)

    monkeypatch.setattr(outputs, "upload", cut)
    result, records = run(remote(1, 2))
    assert (result.done, result.failed, result.exit_code) == (1, 1, 7)
    (failed,) = [record for record in records if record["event"] == "failed"]
    assert failed["code"] == 4 and "connection lost; the clip is kept as" in failed["error"]
    kept = location(failed["error"].partition("kept as `")[2].removesuffix("`"))
    kept.unlink()
    kept.parent.rmdir()
    assert names() == ["2.gif", "manifest.jsonl"]


def test_a_manifest_that_cannot_be_uploaded_is_a_note_until_the_end(remote, run, monkeypatch):
    pushed = []

    def cut(self, *, at_once=False):
        pushed.append(at_once)
        if len(pushed) > 1:
            raise NetworkError("connection lost")

    monkeypatch.setattr(Mirror, "push", cut)
    records = []
    with pytest.raises(NetworkError, match="connection lost"):
        from animdiff_cli.jobs.batch.crew import BatchOptions

        run_batch(remote(1), BatchOptions(device="cpu"), records.append)
    assert pushed == [True, False, True]
    assert any("the manifest is not uploaded yet" in record.get("message", "") for record in records)
    assert any(record["event"] == "done" for record in records)


def test_the_manifest_is_uploaded_at_intervals_and_only_if_it_has_grown(bucket, tmp_path, monkeypatch):
    uploaded = []
    monkeypatch.setattr(mirror, "upload", lambda source, target, replace: uploaded.append(source.read_text()))
    copied = Mirror(location(f"{bucket}/night"), tmp_path, "manifest.jsonl")
    copied.push(at_once=True)
    assert uploaded == []
    for text in ("a\n", "a\nb\n"):
        (tmp_path / "manifest.jsonl").write_text(text)
        copied.push()
    assert uploaded == ["a\n"]
    copied.push(at_once=True)
    copied.push(at_once=True)
    assert uploaded == ["a\n", "a\nb\n"]


def test_a_dry_run_lists_what_is_left_and_writes_nothing(remote, run, names, state):
    run(remote(1))
    shutil.rmtree(state())
    before = names()
    left, done = pending(remote(1, 2), None, overwrite=False)
    assert ([job.outputs["gif"] for job in left.jobs], done) == (["2.gif"], 1)
    assert names() == before
