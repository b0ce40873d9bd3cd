import signal
import subprocess
import sys
from functools import partial

import pytest

from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.events import Note


def start(words, *, stderr):
    """Start a process that receives SIGINT, even if the tests run in the background and ignore it."""
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True, preexec_fn=restore)


def test_ctrl_c_in_a_step_stops_a_render_with_exit_code_130_and_no_output(animdiff, toy, files, interrupt_at):
    calls = interrupt_at(3)
    result = animdiff(*toy, "--steps", "9", "--prompt", "a fox", "-o", "night/fox.gif")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "step 1/9" in result.stderr and "step 9/9" not in result.stderr and "Traceback" not in result.stderr
    assert "interrupted: 0 of 1 clip finished and kept" in result.stderr and "--skip-existing" not in result.stderr
    assert files() == []
    assert calls == [1, 2, 3]


def test_clips_finished_before_ctrl_c_are_kept(script, toy, here, animdiff, files):
    words = [script, *toy, "--prompt", "a fox", "--repeat", "1000", "--seed", "1", "-o", "{seed}.gif"]
    process = start(words, stderr=subprocess.PIPE)
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "of 1000 clips finished and kept" in stderr and "run the same command with `--skip-existing`" in stderr
    assert process.returncode == 130
    assert first == "1.gif" and first in files()
    for name in files():
        assert animdiff("inspect", name).exit_code == 0


class Fragile:
    """Raises in its destructor, like a regular expression node that is deleted during Ctrl-C."""

    def __init__(self, failure):
        self.failure = failure

    def __del__(self):
        raise self.failure


def test_ctrl_c_lost_in_a_destructor_is_raised_at_the_next_event(capsys):
    with pytest.raises(KeyboardInterrupt), show_progress(quiet=False) as emit:
        emit(Note("before"))
        Fragile(KeyboardInterrupt())
        emit(Note("after"))
    assert capsys.readouterr().err == "note: before\n"


def test_other_errors_in_destructors_are_still_reported(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    with show_progress(quiet=True) as emit:
        Fragile(ValueError("mine"))
        emit(Note("after"))
    assert [str(failure.exc_value) for failure in reported] == ["mine"]
    assert sys.unraisablehook == reported.append
