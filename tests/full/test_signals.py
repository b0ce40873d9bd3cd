"""SIGTERM at random moments of a render leaves complete files only, from the first import to the last clip."""

import random
import signal
import subprocess
import time

import pytest

from animdiff_cli.outputs import read_recipe
from tests.cli.conftest import CONSOLE_SCRIPT

pytestmark = pytest.mark.full
RUNS, LONGEST_S = 30, 12
SMALL = ["--steps", "1", "-L", "2", "-W", "64", "-H", "64"]
FILES = ["--seed", "1", "--repeat", "200", "-o", "{seed}", "-f", "gif", "-f", "mp4", "-f", "frames"]


def test_sigterm_at_any_moment_leaves_complete_files_only(tmp_path):
    draw = random.Random(1)
    codes = []
    for run in range(RUNS):
        folder = tmp_path / str(run)
        folder.mkdir()
        words = [CONSOLE_SCRIPT, "generate", "--model", "pocket", "-p", "a fox", *SMALL, *FILES]
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(draw.uniform(0, LONGEST_S))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        assert "Traceback" not in stderr and "error" not in stderr, stderr
        assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
        for path in folder.iterdir():
            assert read_recipe(path)["config"]["prompt"] == "a fox"
        codes.append(process.returncode)
    # the system ends a process that has not come to its own code yet
    assert set(codes) <= {130, -signal.SIGTERM} and codes.count(130) > RUNS / 2
