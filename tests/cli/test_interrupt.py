import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.events import Note


def start(words, *, stderr):
    """Start a program that hears Ctrl-C, also where the tests run in the background and do not."""
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True, preexec_fn=restore)


def test_ctrl_c_ends_a_render_at_once_with_130_and_leaves_nothing(script, toy, files):
    words = [script, *toy, "--steps", "900", "--prompt", "a fox", "-o", "night/fox.gif"]
    process = start(words, stderr=subprocess.PIPE)
    with process:
        begun = any(line.startswith("step 1/900") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        rest = process.stderr.read()
        stdout = process.stdout.read()
    assert begun and "step 900/900" not in rest
    assert process.returncode == 130
    assert (stdout, "Traceback" in rest) == ("", False)
    assert files() == []
    assert time.monotonic() - began < 10  # the steps that were left take twice as long


def test_clips_that_were_finished_before_ctrl_c_are_kept_whole(script, toy, here, animdiff, files):
    words = [script, *toy, "--prompt", "a fox", "--repeat", "1000", "--seed", "1", "-o", "{seed}.gif"]
    process = start(words, stderr=subprocess.DEVNULL)
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert first == "1.gif" and first in files()
    for name in files():
        assert animdiff("inspect", name).exit_code == 0


class Fragile:
    """What a regular expression's node does when Ctrl-C comes while it is thrown away."""

    def __init__(self, failure):
        self.failure = failure

    def __del__(self):
        raise self.failure


def test_ctrl_c_that_a_destructor_swallows_ends_the_work_at_the_next_event(capsys):
    with pytest.raises(KeyboardInterrupt), show_progress(quiet=False) as emit:
        emit(Note("before"))
        Fragile(KeyboardInterrupt())
        emit(Note("after"))
    assert capsys.readouterr().err == "note: before\n"


def test_other_failures_of_destructors_are_still_reported(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    with show_progress(quiet=True) as emit:
        Fragile(ValueError("mine"))
        emit(Note("after"))
    assert [str(failure.exc_value) for failure in reported] == ["mine"]
    assert sys.unraisablehook == reported.append
