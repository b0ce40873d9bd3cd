"""`generate --json` is a stream of events, each of which the published JSON Schema describes."""

import json
import signal

import pytest

from animdiff_cli.core.event_records import RESULTS
from animdiff_cli.diffusion import pipeline
from animdiff_cli.errors import DeviceError
from animdiff_cli.outputs import read_recipe


def test_a_render_is_told_from_queued_to_done(animdiff, toy, here, records):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--seed", 2, "-f", "gif", "-f", "webp", "--json")
    stream = records(result)
    assert [(record["event"], record["job"]) for record in stream if record["event"] != "step"] == [
        ("queued", "1"),
        ("queued", "2"),
        ("started", "1"),
        ("loading", "1"),
        ("loading", "1"),
        ("decoding", "1"),
        ("written", "1"),
        ("written", "1"),
        ("done", "1"),
        ("started", "2"),
        ("decoding", "2"),
        ("written", "2"),
        ("written", "2"),
        ("done", "2"),
    ]
    steps = [record for record in stream if record["event"] == "step"]
    assert [(record["step"], record["steps"]) for record in steps if record["job"] == "2"][-1] == (2, 2)
    queued, done = records(result, "queued")[1], records(result, "done")[1]
    assert queued["name"] == "a fox, seed 2" and queued["outputs"] == done["outputs"]
    assert set(done["outputs"]) == {"gif", "webp"}
    sizes = {record["path"]: record["bytes"] for record in records(result, "written") if record["job"] == "2"}
    assert sizes == {path: (here / path).stat().st_size for path in done["outputs"].values()}
    recipe = read_recipe(here / done["outputs"]["gif"])
    assert {key: done[key] for key in recipe.keys() - {"animdiff"}} == {
        key: recipe[key] for key in recipe.keys() - {"animdiff"}
    }
    assert done["seconds"] > 0 and done["notes"] == []


def test_quiet_leaves_one_object_per_clip(animdiff, toy, records):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--seed", 2, "--json", "-q")
    assert [(record["event"], record["config"]["seed"]) for record in records(result)] == [("done", 1), ("done", 2)]
    assert result.stderr == ""


def test_a_clip_of_windows_tells_them(animdiff, toy, records, monkeypatch):
    monkeypatch.setattr("animdiff_cli.core.event_records.SECONDS_PER_STEP_RECORD", 0)
    words = [
        "--prompt",
        "a fox",
        "--seed",
        1,
        "--json",
        "-L",
        6,
        "-C",
        4,
        "-O",
        2,
        "--steps",
        1,
        "--context-mode",
        "unet",
    ]
    steps = records(animdiff(*toy, *words), "step")
    assert [(step["step"], step.get("window"), step.get("windows")) for step in steps] == [
        (0, 1, 2),
        (0, 2, 2),
        (1, None, None),
    ]


@pytest.mark.parametrize(
    ("error", "code"), [(DeviceError("out of memory", hint="fewer frames"), 6), (ValueError("a bug"), 1)]
)
def test_a_failed_clip_has_a_record_and_earlier_clips_are_kept(animdiff, toy, records, monkeypatch, files, error, code):
    decode, calls = pipeline.decode_chunks, []

    def failing(*given, **more):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return decode(*given, **more)

    monkeypatch.setattr(pipeline, "decode_chunks", failing)
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--seed", 2, "--seed", 3, "-o", "{seed}.gif", "--json")
    assert result.exit_code == code
    first, second = records(result, *RESULTS)
    assert (first["event"], first["job"]) == ("done", "1")
    assert (second["event"], second["job"], second["code"]) == ("failed", "2", code)
    assert str(error) in second["error"] and second.get("hint") == getattr(error, "hint", None)
    if code == 6:
        last = json.loads(result.stderr.splitlines()[-1])
        assert last == {key: second[key] for key in ("error", "hint", "code")}
    assert files() == ["1.gif"]


def test_ctrl_c_has_a_record(animdiff, toy, records, interrupt_at, files):
    interrupt_at(3)
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--seed", 2, "-o", "{seed}.gif", "--json", "--steps", 2)
    assert result.exit_code == 128 + signal.SIGINT
    assert [(record["event"], record["job"]) for record in records(result, *RESULTS)] == [
        ("done", "1"),
        ("interrupted", "2"),
    ]
    assert files() == ["1.gif"]


def test_a_clip_that_lacks_a_format_is_skipped_and_queued(animdiff, toy, records):
    words = [*toy, "--prompt", "a fox", "-o", "{seed}.gif"]
    animdiff(*words, "--seed", 2)
    both = animdiff(*words, "--seed", 1, "--seed", 2, "-f", "gif", "-f", "webp", "--skip-existing", "--json")
    told = [(record["event"], record["job"], record["outputs"]) for record in records(both) if "outputs" in record]
    assert told == [
        ("skipped", "2", {"gif": "2.gif"}),
        ("queued", "1", {"gif": "1.gif", "webp": "1.webp"}),
        ("queued", "2", {"webp": "2.webp"}),
        ("done", "1", {"gif": "1.gif", "webp": "1.webp"}),
        ("done", "2", {"webp": "2.webp"}),
    ]
