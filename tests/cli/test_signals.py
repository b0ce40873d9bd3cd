"""SIGTERM and SIGHUP end a command like Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal, sys, time
from animdiff_cli.cli.app import app, main
name, ignored = sys.argv[1:]
signal.signal(getattr(signal, name), signal.SIG_IGN if ignored == "ignored" else signal.SIG_DFL)

@app.command("wait")
def wait():
    try:
        os.kill(os.getpid(), getattr(signal, name))
        print("still running")
    finally:
        print("cleaned up")

sys.argv[1:] = ["wait"]
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(
    ("name", "before", "code", "output"),
    [
        ("SIGTERM", "default", 130, "cleaned up\n"),
        ("SIGHUP", "default", 130, "cleaned up\n"),
        ("SIGHUP", "ignored", 0, "still running\ncleaned up\n"),  # started by nohup
    ],
)
def test_a_signal_that_ends_a_process_cleans_up_and_exits_130(name, before, code, output):
    command = [sys.executable, "-c", CODE, name, before]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, output, "")


def ended(code):
    """Run Python with SIGINT as a terminal leaves it, and return its exit code and its stderr."""
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_ctrl_c_before_a_command_has_started_prints_no_traceback():
    code = (
        "import importlib\nprogram = importlib.import_module('animdiff_cli.cli.app')\n"
        "program.app = lambda: signal.raise_signal(signal.SIGINT)\nprogram.main()"
    )
    assert ended(code) == (130, "")


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_after_a_command_has_ended_prints_no_traceback():
    code = (
        "import atexit, sys\nfrom animdiff_cli.cli.app import main\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\nsys.argv = ['animdiff', '--version']\nmain()"
    )
    assert ended(code) == (-signal.SIGINT, "")
