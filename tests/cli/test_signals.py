"""SIGTERM and SIGHUP end a command like Ctrl-C."""

import os
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
