import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.training.checkpoint import Checkpoints, Identity

HERE = Identity({"lr": 1e-4, "clips": "abc"})


def never(message):
    raise AssertionError(message)


def test_the_newest_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (10, 20, 30):
        checkpoints.save(step, HERE, {"weights": torch.full((2,), float(step))})
    assert [step for step, _ in checkpoints.listed()] == [20, 30]
    state = checkpoints.newest(HERE, never)
    assert state["step"] == 30 and state["weights"].tolist() == [30.0, 30.0]
    checkpoints.clear()
    assert checkpoints.newest(HERE, never) is None


def test_a_run_with_other_settings_is_not_continued_and_the_difference_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    checkpoints.save(1, HERE, {})
    with pytest.raises(UsageError, match=r"lr was `0.0001`, now `0.0005`") as refused:
        checkpoints.newest(Identity({"lr": 5e-4, "clips": "abc"}), never)
    assert "--overwrite" in refused.value.hint


def test_a_checkpoint_that_lost_its_end_gives_way_to_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (1, 2):
        checkpoints.save(step, HERE, {"weights": torch.zeros(1000)})
    newest = checkpoints.listed()[-1][1]
    newest.write_bytes(newest.read_bytes()[:-700])
    said = []
    assert checkpoints.newest(HERE, said.append)["step"] == 1
    assert newest.name in said[0]


SAVER = """
import sys, torch
from pathlib import Path
from animdiff_cli.training.checkpoint import Checkpoints, Identity
checkpoints = Checkpoints(Path(sys.argv[1]), keep=2)
weights = torch.zeros(4_000_000)
for step in range(1, 10_000):
    checkpoints.save(step, Identity({"lr": 1}), {"weights": weights + step})
    print(step, flush=True)
"""


@pytest.mark.parametrize("moment_ms", [3, 17, 31])
def test_kill_9_during_a_save_leaves_a_whole_newest(tmp_path, moment_ms):
    folder = tmp_path / "checkpoints"
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(folder)], stdout=subprocess.PIPE, text=True, env=environ
    )
    with process:
        finished = [int(process.stdout.readline()) for _ in range(3)][-1]
        time.sleep(moment_ms / 1000)
        process.send_signal(signal.SIGKILL)
        finished = max([finished, *map(int, process.stdout.read().split())])
    state = Checkpoints(folder, keep=2).newest(Identity({"lr": 1}), never)
    assert state["step"] >= finished  # the one in the making may have been finished
    assert (state["weights"] == state["step"]).all()
