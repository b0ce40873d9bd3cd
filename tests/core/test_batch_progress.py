import pytest

from animdiff_cli.core.batch_progress import BatchProgress
from animdiff_cli.core.event_records import (
    DecodingRecord,
    InterruptedRecord,
    LoadingRecord,
    NoteRecord,
    QueuedRecord,
    SkippedRecord,
    StartedRecord,
    StepRecord,
    failed,
)


def queued(*jobs):
    return [QueuedRecord(job=job, name=f"clip {job}", outputs={}).record() for job in jobs]


def done(job):
    return {"event": "done", "version": 1, "job": job}  # the rest of it does not matter here


@pytest.fixture
def progress():
    """Four clips; the first starts at 100 s."""
    progress = BatchProgress()
    for record in queued("a", "b", "c", "d"):
        progress.update(record, 90.0)
    progress.update(StartedRecord(job="a", worker="cuda:0").record(), 100.0)
    return progress


def test_every_event_that_ends_a_clip_is_counted(progress):
    progress.update(SkippedRecord(job="x", outputs={}).record(), 100)
    progress.update(done("a"), 110)
    progress.update(StartedRecord(job="b").record(), 110)
    progress.update(failed("b", ValueError("x")), 111)
    progress.update(StartedRecord(job="c").record(), 111)
    progress.update(InterruptedRecord(job="c").record(), 112)
    assert progress.summary() == "5 clips: 1 done, 1 failed, 1 interrupted, 1 waiting, 1 done before"
    assert (progress.num_ended, progress.running) == (4, {})


def test_a_clip_that_is_tried_again_waits(progress):
    progress.update(failed("a", ValueError("x"), retry=True), 111)
    assert progress.summary() == "4 clips: 0 done, 4 waiting"
    progress.update(StartedRecord(job="a", attempt=2).record(), 112)
    progress.update(done("a"), 113)
    assert progress.summary() == "4 clips: 1 done, 3 waiting"


@pytest.mark.parametrize(
    ("record", "stage", "share"),
    [
        (LoadingRecord(job="a", what="image model pocket"), "loading image model pocket", 0),
        (StepRecord(job="a", step=3, steps=12), "step 3/12", 0.25),
        (StepRecord(job="a", step=3, steps=12, window=2, windows=4), "step 3/12, window 2/4", 3.5 / 12),
        (DecodingRecord(job="a", frame=8, frames=16), "decoding 8/16", 0),
    ],
)
def test_the_stage_of_a_clip_follows_its_events(progress, record, stage, share):
    progress.update(record.record(), 101)
    assert (progress.running["a"].stage, progress.running["a"].share) == (stage, share)


def test_speed_and_time_left_are_those_of_this_run(progress):
    assert progress.speed(110) == ""
    progress.update(done("a"), 120)
    assert progress.speed(120) == "180 clips/h, 1 min 0 s left"  # 20 s a clip, three to go
    progress.update(StartedRecord(job="b").record(), 120)
    progress.update(StepRecord(job="b", step=1, steps=2).record(), 130)
    assert progress.seconds_left(130) == 30 / 1.5 * 2.5
    for job in "bcd":
        progress.update(done(job), 180)
    assert progress.speed(180) == "180 clips/h"


def test_two_workers_are_twice_as_fast(progress):
    progress.update(StartedRecord(job="b", worker="cuda:1").record(), 100)
    for job in "ab":
        progress.update(done(job), 3700)
    assert progress.speed(3700) == "2.0 clips/h, 1 h 0 min left"


def test_a_note_is_new_once_and_changes_no_count(progress):
    before = progress.summary()
    for _ in range(2):
        progress.update(NoteRecord(job=None, message="resumed").record(), 100)
    assert [progress.is_new("resumed"), progress.is_new("resumed")] == [True, False]
    assert progress.summary() == before
