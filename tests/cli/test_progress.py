import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from animdiff_cli.cli.progress import ClipTimes, PlainLines, format_speed
from animdiff_cli.core.events import FramesDecoded, Loading, Note, StepDone, WindowDone, Writing

#: emits the events of a render and prints the output path when its file is complete
RENDER = """
import time
from pathlib import Path
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.events import *

with show_progress(quiet=False) as emit:
    emit(Loading("image model [toy]"))
    for step in range(1, 11):
        time.sleep(0.02)
        emit(StepDone(step, 10))
    emit(FramesDecoded(2, 2))
    emit(Note("the VAE [fp16] overflows"))
    emit(Writing(Path("fox.gif")))
    time.sleep(0.2)
    emit(Written(Path("fox.gif"), 100))
    print("fox.gif", flush=True)
"""


def test_a_step_of_many_windows_prints_one_line_per_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("animdiff_cli.cli.progress.time.monotonic", lambda: now[0])
    lines = PlainLines()
    for window in range(1, 11):
        now[0] += 25
        lines(WindowDone(window, 10, 1, 20))
    assert capsys.readouterr().err.splitlines() == [f"step 1/20, window {window}/10" for window in (3, 6, 9)]


@pytest.mark.parametrize("total", [10, 25, 1000])
def test_a_long_render_prints_one_line_per_tenth(capsys, total):
    lines = PlainLines()
    for step in range(1, total + 1):
        lines(StepDone(step, total))
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) in (10, 11)  # the first step is always printed
    assert printed[0] == f"step 1/{total}"
    assert printed[-1].startswith(f"step {total}/{total}, ")


def test_each_clip_starts_at_step_1(capsys):
    lines = PlainLines()
    for job in (1, 2):
        for step in range(1, 11):
            lines(StepDone(step, 10, job, 2))
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 20
    assert printed[10] == "clip 2/2, step 1/10"


def test_every_stage_is_printed(capsys):
    lines = PlainLines()
    for event in (Loading("toy"), FramesDecoded(1, 2), FramesDecoded(2, 2), Writing(Path("a.gif")), Note("mind this")):
        lines(event)
    assert capsys.readouterr().err == "loading toy\ndecoded 2 frames\nwriting a.gif\nnote: mind this\n"


@pytest.mark.parametrize(
    ("step", "seconds", "text"),
    [
        (1, 9.0, ""),
        (5, 2.0, "2.0 it/s, 8 s left"),
        (5, 8.0, "2.0 s/it, 30 s left"),
        (5, 80.0, "20.0 s/it, 5 min 0 s left"),
        (20, 9.5, "2.0 it/s"),
        (5, 0.0, ""),
    ],
)
def test_the_speed_excludes_the_first_step(step, seconds, text):
    assert format_speed(StepDone(step, 20), seconds) == text


@pytest.fixture
def on_a_terminal(here):
    """Return a function that runs Python code with stderr on a pseudo-terminal and returns both outputs."""

    def run(text, term="xterm-256color", *, stdout_too=False):
        reader, terminal = os.openpty()
        stdout = terminal if stdout_too else subprocess.PIPE
        environ = os.environ | {"TERM": term, "COLUMNS": "100"}
        process = subprocess.Popen([sys.executable, "-c", text], stdout=stdout, stderr=terminal, env=environ)
        os.close(terminal)
        received = b""
        while chunk := read_chunk(reader):
            received += chunk
        os.close(reader)
        piped = "" if stdout_too else process.stdout.read().decode()
        assert process.wait() == 0
        return piped, received.decode()

    return run


def read_chunk(reader):
    try:
        return os.read(reader, 4096)
    except OSError:  # Linux raises this when the other end is closed
        return b""


def test_with_bars_on_a_terminal_stdout_stays_piped(on_a_terminal):
    piped, seen = on_a_terminal(RENDER)
    assert piped == "fox.gif\n"
    for words in ("loading image model [toy]", "denoising", "/10 ", "it/s", "note: the VAE [fp16] overflows", "━━━"):
        assert words in seen


def test_only_notes_and_paths_remain_after_the_bars(on_a_terminal):
    _, seen = on_a_terminal(RENDER, stdout_too=True)
    assert screen(seen) == ["note: the VAE [fp16] overflows", "fox.gif"]


def test_a_terminal_that_shows_events_shows_no_bars(on_a_terminal):
    _, seen = on_a_terminal(RENDER.replace("quiet=False", "quiet=False, as_json=True"), stdout_too=True)
    assert screen(seen) == ["fox.gif"]


def test_a_dumb_terminal_gets_plain_lines(on_a_terminal):
    _, seen = on_a_terminal(RENDER, term="dumb")
    assert "\x1b" not in seen
    assert "step 10/10" in seen


def screen(seen):
    """Emulate a terminal: text, line feeds, cursor up and erase line, which is all that the bars use."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", seen):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token.startswith("\x1b[") and token.endswith("A"):
            row -= int(token[2:-1] or 1)
        elif not token.startswith(("\x1b", "\r")):
            lines[row] += token
    return [line for line in lines if line.strip()]


def test_the_time_left_counts_all_clips():
    assert format_speed(StepDone(5, 20, 1, 3), 4.0) == "1.0 it/s, 55 s left"
    assert format_speed(StepDone(20, 20, 1, 3), 19.0) == "1.0 it/s, 40 s left"
    assert format_speed(StepDone(20, 20, 3, 3), 19.0) == "1.0 it/s"


def test_the_time_left_counts_decoding_as_estimated_and_then_as_measured():
    clips = ClipTimes()
    assert clips.speed(StepDone(1, 10, 1, 2), 100.0) == ""
    # 2 s per step: 15 more steps and twice 1.5 steps of decoding
    assert clips.speed(StepDone(5, 10, 1, 2), 108.0) == "2.0 s/it, 36 s left"
    assert clips.speed(StepDone(10, 10, 1, 2), 118.0) == "2.0 s/it, 26 s left"
    clips.speed(StepDone(1, 10, 2, 2), 130.0)  # 10 s of decoding and writing, and one step
    assert clips.speed(StepDone(5, 10, 2, 2), 138.0) == "2.0 s/it, 20 s left"
    assert clips.speed(StepDone(10, 10, 2, 2), 148.0) == "2.0 s/it, 10 s left"
