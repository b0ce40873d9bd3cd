"""What a running batch prints: plain lines, a live table on a terminal, paths or events on stdout."""

import io
import json
import time

import pytest
from rich.console import Console

from animdiff_cli.cli.batch_progress import BatchLines, show_batch
from animdiff_cli.cli.batch_table import BatchTable
from animdiff_cli.core.event_records import (
    DoneRecord,
    LoadingRecord,
    NoteRecord,
    QueuedRecord,
    SkippedRecord,
    StartedRecord,
    StepRecord,
    failed,
)
from animdiff_cli.errors import DeviceError
from tests.cli.test_progress import on_a_terminal, screen  # noqa: F401

KINDS = {"config": {}, "weights": {}, "device": "cpu", "versions": {}}
STREAM = [
    SkippedRecord(job="0", outputs={"gif": "night/0.gif"}),
    *(QueuedRecord(job=job, name=f"night.yaml:{job} [x]", outputs={"gif": f"night/{job}.gif"}) for job in "1234"),
    StartedRecord(job="1", worker="10"),
    StartedRecord(job="2", worker="9"),
    LoadingRecord(job="1", what="image model pocket"),
    NoteRecord(job="1", message="the VAE [fp16] overflows"),
    NoteRecord(job="2", message="the VAE [fp16] overflows"),
    StepRecord(job="2", step=3, steps=12),
    DoneRecord(job="1", outputs={"gif": "night/1.gif", "mp4": "night/1.mp4"}, seconds=2, worker="10", **KINDS),
    failed("2", DeviceError("out of memory", hint="fewer frames"), worker="9", retry=True),
    StartedRecord(job="2", worker="9", attempt=2),
    failed("2", DeviceError("out of memory", hint="fewer frames"), worker="9", attempt=2),
    StartedRecord(job="3", worker="9"),
]
RECORDS = [record if isinstance(record, dict) else record.record() for record in STREAM]


def test_without_a_terminal_a_clip_prints_a_line_when_it_starts_and_ends(capsys):
    now = [0.0]

    def clock():
        now[0] += 1
        return now[0]

    lines = BatchLines(lambda record: None, clock)
    for record in RECORDS:
        lines(record)
    lines.end()
    assert capsys.readouterr().err.splitlines() == [
        "5 clips: 0 done, 1 running, 3 waiting, 1 done before",
        "worker 10: night.yaml:1 [x]",
        "worker 9: night.yaml:2 [x]",
        "note: the VAE [fp16] overflows",
        "done in 6 s: night.yaml:1 [x], 600 clips/h, 13 s left",
        "failed: night.yaml:2 [x]: out of memory, is tried again",
        "worker 9: night.yaml:2 [x], attempt 2",
        "failed: night.yaml:2 [x]: out of memory",
        "hint: fewer frames",
        "worker 9: night.yaml:3 [x]",
        "5 clips: 1 done, 1 running, 1 failed, 1 waiting, 1 done before, in 17 s",
    ]


def test_a_long_clip_prints_a_line_a_minute(capsys):
    now = [0.0]
    lines = BatchLines(lambda record: None, lambda: now[0])
    for record in (QueuedRecord(job="1", name="a", outputs={}), StartedRecord(job="1")):
        lines(record.record())
    for step in range(1, 11):
        now[0] += 25
        lines(StepRecord(job="1", step=step, steps=20).record())
    assert capsys.readouterr().err.splitlines()[2:] == [f"a: step {step}/20" for step in (3, 6, 9)]


@pytest.mark.parametrize(("quiet", "err"), [(True, False), (False, True)])
def test_stdout_has_the_paths_of_finished_and_skipped_clips(capsys, quiet, err):
    with show_batch(quiet=quiet, as_json=False) as write:
        for record in RECORDS:
            write(record)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["night/0.gif", "night/1.gif", "night/1.mp4"]
    assert bool(printed.err) == err


@pytest.mark.parametrize("quiet", [False, True])
def test_stdout_has_the_records_as_json(capsys, quiet):
    with show_batch(quiet=quiet, as_json=True) as write:
        for record in RECORDS:
            write(record)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    if quiet:
        assert [record["event"] for record in printed] == ["skipped", "done", "failed", "failed"]
    else:
        assert printed == json.loads(json.dumps(RECORDS))


@pytest.fixture
def drawn(monkeypatch):
    """Return the lines of the live table after some records, on a terminal of a size."""

    def draw(records, width, height):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("LINES", str(height))
        table = BatchTable(lambda record: None)
        for record in records:
            table._progress.update(record, time.monotonic())
        console = Console(file=io.StringIO())
        console.print(table.render())
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    return draw


def test_the_table_has_counts_a_bar_and_a_line_per_worker(drawn):
    head, bar, *workers = drawn(RECORDS[:11], width=70, height=24)
    assert head == "5 clips: 0 done, 2 running, 2 waiting, 1 done before"
    assert set(bar) <= set("━╸╺") and len(bar) in (13, 14)  # one of five
    assert [line.split()[:3] for line in workers] == [
        ["worker", "9", "night.yaml:2"],  # by number
        ["worker", "10", "night.yaml:1"],
    ]
    assert "step 3/12" in workers[0] and "loading image model pocket" in workers[1]


def test_one_worker_has_no_name(drawn):
    records = [QueuedRecord(job="1", name="a fox", outputs={}), StartedRecord(job="1")]
    *_, line = drawn([record.record() for record in records], width=70, height=24)
    assert line.startswith("a fox  ") and line.endswith("starting  0 s")


def test_the_table_fits_a_small_terminal(drawn):
    started = [StartedRecord(job=str(job), worker=str(job)).record() for job in range(12)]
    lines = drawn(started, width=40, height=9)
    assert len(lines) == 7 and lines[-1] == "and 8 more"
    assert all(len(line) <= 37 for line in lines)


BATCH = """
import time
from animdiff_cli.cli.batch_progress import show_batch
from tests.cli.test_batch_progress import RECORDS

with show_batch(quiet=False, as_json=False) as write:
    for record in RECORDS:
        time.sleep(0.02)
        write(record)
    time.sleep(0.3)
"""


@pytest.mark.parametrize("stdout_too", [True, False])
def test_paths_notes_failures_and_counts_remain_on_a_terminal(on_a_terminal, stdout_too):  # noqa: F811
    piped, seen = on_a_terminal(BATCH, stdout_too=stdout_too)
    assert "worker 9" in seen and "━━━" in seen and "1 running" in seen
    paths = ["night/0.gif", "night/1.gif", "night/1.mp4"]
    remaining = [line.rstrip() for line in screen(seen)]
    assert remaining.pop().startswith("5 clips: 1 done, 1 running, 1 failed, 1 waiting, 1 done before, in ")
    assert remaining == [
        *(paths[:1] if stdout_too else []),
        "note: the VAE [fp16] overflows",
        *(paths[1:] if stdout_too else []),
        "failed: night.yaml:2 [x]: out of memory, is tried again",
        "failed: night.yaml:2 [x]: out of memory",
        "hint: fewer frames",
    ]
    assert piped.splitlines() == ([] if stdout_too else paths)
