"""The events of `animdiff batch --json`, and what it says when clips fail or it is interrupted."""

import json
from pathlib import Path

import pytest

from animdiff_cli.diffusion import pipeline
from animdiff_cli.errors import DeviceError


@pytest.fixture
def batch(animdiff, toy):
    """Run a batch of small clips of the toy model, one for each seed of 1 to 3."""
    names = {"--model": "model", "--motion-module": "motion_module", "--steps": "steps"}
    names |= {"-L": "num_frames", "-W": "width", "-H": "height"}
    defaults = {names[flag]: value for flag, value in zip(toy[1::2], toy[2::2], strict=True)}
    matrix = {"prompt": ["a fox"], "seed": [1, 2, 3]}
    Path("night.yaml").write_text(json.dumps({"defaults": defaults, "matrix": matrix, "output": "{seed}.gif"}))
    return lambda *words: animdiff("batch", "night.yaml", "-o", "night", "--device", "cpu", *words)


@pytest.fixture
def one_fails(monkeypatch):
    """Let memory run out when the second clip is decoded."""
    decode, calls = pipeline.decode_chunks, []

    def decode_or_fail(*given, **more):
        calls.append(1)
        if len(calls) == 2:
            raise DeviceError("out of memory", hint="render fewer frames")
        return decode(*given, **more)

    monkeypatch.setattr(pipeline, "decode_chunks", decode_or_fail)


def test_a_batch_is_told_from_queued_to_done_and_a_later_run_skips_it(batch, records, one_fails):
    first = batch("--json")
    stream = records(first)
    queued = [record["job"] for record in stream[:3]]
    assert [record["event"] for record in stream[:3]] == ["queued"] * 3 and len(set(queued)) == 3
    assert [record["job"] for record in records(first, "started")] == queued
    ends = records(first, "done", "failed")
    assert [(record["event"], record["job"]) for record in ends] == list(
        zip(["done", "failed", "done"], queued, strict=True)
    )
    assert records(first, "step")[-1]["job"] == queued[2]
    assert (first.exit_code, ends[1]["code"]) == (7, 6)
    assert json.loads(first.stderr.splitlines()[-1]) == {
        "error": "1 of 3 clips failed",
        "hint": "`animdiff batch status night` lists them; run the same command again to retry them",
        "code": 7,
    }
    again = records(batch("--json", "-q"))
    assert [(record["event"], record["job"]) for record in again] == [
        ("skipped", queued[0]),
        ("skipped", queued[2]),
        ("done", queued[1]),
    ]
    assert again[2]["outputs"] == {"gif": "night/2.gif"}


def test_failures_are_said_to_people(batch, one_fails):
    result = batch()
    assert (result.exit_code, result.stdout) == (7, "night/1.gif\nnight/3.gif\n")
    lines = result.stderr.splitlines()
    assert any(line.startswith("failed: night.yaml") and line.endswith(": out of memory") for line in lines)
    assert "hint: render fewer frames" in lines
    assert lines[-3].startswith("3 clips: 2 done, 1 failed, in ")
    assert lines[-2:] == [
        "error: 1 of 3 clips failed",
        "hint: `animdiff batch status night` lists them; run the same command again to retry them",
    ]


def test_ctrl_c_finishes_the_clip_and_says_how_to_go_on(batch, interrupt_at, files, animdiff):
    interrupt_at(3)  # the first step of the second clip
    result = batch()
    assert (result.exit_code, result.stdout) == (130, "night/1.gif\nnight/2.gif\n")
    assert result.stderr.splitlines()[-2:] == [
        "interrupted: 2 of 3 clips finished and kept",
        "hint: to render the rest, run the same command again",
    ]
    assert files() == ["night.yaml", "night/1.gif", "night/2.gif", "night/manifest.jsonl"]
    assert animdiff("batch", "status", "night").stdout == "3 clips: 2 done, 1 waiting\n"
    assert batch("-q").stdout == "night/1.gif\nnight/2.gif\nnight/3.gif\n"
