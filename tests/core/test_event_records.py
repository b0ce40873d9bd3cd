import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from animdiff_cli.core import event_records as records
from animdiff_cli.core.events import FramesDecoded, Loading, Note, Saved, StepDone, WindowDone, Writing, Written
from animdiff_cli.errors import DeviceError

SCHEMA = json.loads(records.json_schema())


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Loading("pocket"), {"event": "loading", "what": "pocket"}),
        (StepDone(3, 12, 2, 5), {"event": "step", "step": 3, "steps": 12}),
        (WindowDone(2, 5, 4, 12), {"event": "step", "step": 3, "steps": 12, "window": 2, "windows": 5}),
        (FramesDecoded(4, 16), {"event": "decoding", "frame": 4, "frames": 16}),
        (Written(Path("a/fox.gif"), 100), {"event": "written", "path": "a/fox.gif", "bytes": 100}),
        (Note("mind"), {"event": "note", "message": "mind"}),
    ],
)
def test_progress_events_become_records_of_the_schema(event, expected):
    record = records.record(event, "1")
    assert record == expected | {"version": 1, "job": "1"}
    jsonschema.validate(record, SCHEMA)


@pytest.mark.parametrize("event", [Writing(Path("a.gif")), Saved(Path("a"), 1)])
def test_other_events_have_no_record(event):
    assert records.record(event, "1") is None


def test_a_failure_holds_what_the_command_line_would_print():
    error = DeviceError("out of memory", hint="try `--low-vram`")
    assert records.failed("a", error, attempt=2, retry=True) == {
        "event": "failed",
        "version": 1,
        "job": "a",
        "error": "out of memory",
        "hint": "try `--low-vram`",
        "code": 6,
        "attempt": 2,
        "retry": True,
    }
    bug = records.failed("a", KeyError("x"))
    assert (bug["code"], bug["error"]) == (1, "KeyError: 'x'") and "hint" not in bug
    jsonschema.validate(bug, SCHEMA)


def test_a_record_of_the_whole_run_has_a_null_job():
    note = records.NoteRecord(job=None, message="resumed").record()
    assert note["job"] is None
    jsonschema.validate(note, SCHEMA)


def test_steps_are_a_second_apart_and_the_last_is_always_written():
    now, written = [100.0], []
    emit = records.recorder("1", written.append, lambda: now[0])
    for step in range(1, 41):  # 0.3 s each
        now[0] += 0.3
        emit(StepDone(step, 40))
        emit(Note(f"after {step}"))
    steps = [record["step"] for record in written if record["event"] == "step"]
    assert steps == [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 40]
    assert sum(record["event"] == "note" for record in written) == 40


def test_the_windows_of_a_step_are_throttled_together_with_the_steps():
    now, written = [0.0], []
    emit = records.recorder("1", written.append, lambda: now[0])
    for window in range(1, 9):
        now[0] += 0.5
        emit(WindowDone(window, 8, 1, 1))
    emit(StepDone(1, 1))
    assert [record.get("window") for record in written] == [1, 3, 5, 7, None]


def test_the_schema_accepts_new_keys_and_refuses_missing_ones():
    step = records.StepRecord(job="1", step=1, steps=2).record()
    jsonschema.validate(step | {"later": 1}, SCHEMA)
    for key in step:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in step.items() if name != key}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(step | {"version": 2}, SCHEMA)


def test_every_result_is_an_event():
    union = get_args(get_args(records.EventRecord)[0])
    assert {kind.model_fields["event"].default for kind in union} > records.RESULTS
