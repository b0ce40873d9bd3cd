import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import typer
from typer.testing import CliRunner

from animdiff_cli.cli.command import Root
from animdiff_cli.cli.interrupts import InterruptHandler, lost_interrupts_raised_again
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.events import Note
from animdiff_cli.errors import UsageError


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


@pytest.fixture(params=["SIGTERM", "SIGINT"])
def handled(request):
    """Handle one of the two signals like Ctrl-C, and leave the other to the system."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        is_handled = number == signal.Signals[request.param]
        signal.signal(number, signal.default_int_handler if is_handled else signal.SIG_DFL)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Fragile:
    """Raises in its destructor, like a regular expression node that is deleted during Ctrl-C."""

    def __init__(self, failure):
        self.failure = failure

    def __del__(self):
        raise self.failure


class Slow:
    """Loses one Ctrl-C in its destructor, and then the one that is raised again."""

    def __del__(self):
        try:
            Fragile(KeyboardInterrupt())
        finally:
            time.sleep(0.5)


def test_ctrl_c_lost_in_a_destructor_is_raised_again(handled, capsys):
    with pytest.raises(KeyboardInterrupt), lost_interrupts_raised_again():
        Fragile(KeyboardInterrupt())
        time.sleep(10)
    assert capsys.readouterr().err == ""


def test_ctrl_c_lost_twice_is_raised_again(handled):
    with pytest.raises(KeyboardInterrupt), lost_interrupts_raised_again():
        Slow()
        time.sleep(10)


def swallow_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def by_program():
    """Handle SIGTERM as the program does."""
    before = signal.signal(signal.SIGTERM, InterruptHandler())
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", [UsageError("cannot import numpy"), ImportError("cannot import numpy")])
def test_an_error_that_a_library_raises_after_ctrl_c_is_not_reported(by_program, error):
    app = typer.Typer(cls=Root, pretty_exceptions_enable=False)
    app.callback()(lambda: None)

    @app.command()
    def load() -> None:
        swallow_ctrl_c()
        raise error

    result = CliRunner().invoke(app, ["load"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_ctrl_c_that_a_library_swallows_is_raised_at_the_next_event(by_program, capsys):
    with pytest.raises(KeyboardInterrupt), show_progress(quiet=False) as emit:
        emit(Note("before"))
        swallow_ctrl_c()
        emit(Note("after"))
    assert capsys.readouterr().err == "note: before\n"


def test_other_errors_in_destructors_are_still_reported(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    with lost_interrupts_raised_again():
        Fragile(ValueError("mine"))
    assert [str(failure.exc_value) for failure in reported] == ["mine"]
    assert sys.unraisablehook == reported.append
