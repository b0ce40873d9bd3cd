"""The command line as a person meets it: an empty folder, no settings of their own."""

import importlib.resources
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from animdiff_cli import core
from animdiff_cli.cli import app

SCHEMA = importlib.resources.files(core) / "events.schema.json"
CONSOLE_SCRIPT = Path(sys.executable).with_name("animdiff")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in, with no `ANIMDIFF_*` set and no presets of one's own."""
    for name in [name for name in os.environ if name.startswith("ANIMDIFF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setenv("ANIMDIFF_STATE", str(tmp_path / "no-state"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub"))
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path / "no-config"))
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path / "no-models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # what is missing is not fetched here
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def animdiff(here):
    """Run the command in this process; the result has `exit_code`, `stdout`, `stderr` and `exception`."""

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="animdiff")

    return call


@pytest.fixture
def records():
    """Return the records of an event stream; `events`: only those. Each one matches the published JSON Schema."""
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))

    def read(result, *events):
        found = [json.loads(line) for line in result.stdout.splitlines()]
        for record in found:
            schema.validate(record)
        return [record for record in found if not events or record["event"] in events]

    return read


@pytest.fixture
def script(here):
    """The command as the shell finds it."""
    return str(CONSOLE_SCRIPT)


@pytest.fixture
def parts(toy_model, toy_motion_file):
    """The flags that name a toy model and a motion module that fits it."""
    return ["--model", str(toy_model), "--motion-module", str(toy_motion_file)]


@pytest.fixture
def toy(parts):
    """The flags of a render of two small frames in two steps: half a second."""
    return ["generate", *parts, "--steps", "2", "-L", "2", "-W", "64", "-H", "64"]


@pytest.fixture
def files(here):
    """List what lies in the folder, hidden files too, as paths below it."""

    def listed():
        return sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file())

    return listed


@pytest.fixture
def interrupt_at(monkeypatch):
    """Send Ctrl-C at the start of a call of the UNet, counted from 1; returns the list that the calls are added to."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background

    def arrange(last):
        calls, forward = [], UNet2DConditionModel.forward

        def interrupted(*given, **more):
            calls.append(len(calls) + 1)
            if len(calls) == last:
                signal.raise_signal(signal.SIGINT)
            return forward(*given, **more)

        monkeypatch.setattr(UNet2DConditionModel, "forward", interrupted)
        return calls

    yield arrange
    signal.signal(signal.SIGINT, before)
