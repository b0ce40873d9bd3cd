import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.training.checkpoint import CLIP_SETTINGS, Checkpoints, RunFingerprint

FINGERPRINT = RunFingerprint({"lr": 1e-4, "clips": "abc"})


def never(message):
    raise AssertionError(message)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (10, 20, 30):
        checkpoints.save(step, FINGERPRINT, {"weights": torch.full((2,), float(step))})
    assert [step for step, _ in checkpoints.saved()] == [20, 30]
    state = checkpoints.load_newest(FINGERPRINT, never)
    assert state["step"] == 30 and state["weights"].tolist() == [30.0, 30.0]
    checkpoints.clear()
    assert checkpoints.load_newest(FINGERPRINT, never) is None


def test_a_run_with_other_settings_is_refused_with_the_difference(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    checkpoints.save(1, FINGERPRINT, {})
    with pytest.raises(UsageError, match=r"lr: 0.0001 → 0.0005") as refused:
        checkpoints.load_newest(RunFingerprint({"lr": 5e-4, "clips": "abc"}), never)
    assert "--overwrite" in refused.value.hint


def test_a_truncated_checkpoint_is_skipped_for_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (1, 2):
        checkpoints.save(step, FINGERPRINT, {"weights": torch.zeros(1000)})
    newest = checkpoints.saved()[-1][1]
    newest.write_bytes(newest.read_bytes()[:-700])
    messages = []
    assert checkpoints.load_newest(FINGERPRINT, messages.append)["step"] == 1
    assert newest.name in messages[0]


SAVER = """
import sys, torch
from pathlib import Path
from animdiff_cli.training.checkpoint import Checkpoints, RunFingerprint
checkpoints = Checkpoints(Path(sys.argv[1]), keep=2)
weights = torch.zeros(4_000_000)
for step in range(1, 10_000):
    checkpoints.save(step, RunFingerprint({"lr": 1}), {"weights": weights + step})
    print(step, flush=True)
"""


@pytest.mark.parametrize("moment_ms", [3, *(pytest.param(later, marks=pytest.mark.full) for later in (17, 31))])
def test_kill_9_during_a_save_leaves_a_complete_newest_checkpoint(tmp_path, moment_ms):
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
    state = Checkpoints(folder, keep=2).load_newest(RunFingerprint({"lr": 1}), never)
    assert state["step"] >= finished  # the one in the making may have been finished
    assert (state["weights"] == state["step"]).all()


@pytest.mark.parametrize(
    ("before", "now", "line"),
    [
        (
            {"clips": "a", CLIP_SETTINGS: {"shot": "pan-right"}},
            {"clips": "b", CLIP_SETTINGS: {"shot": "pan-left"}},
            "shot: pan-right → pan-left",
        ),
        ({"clips": "a", CLIP_SETTINGS: {"fps": None}}, {"clips": "b", CLIP_SETTINGS: {"fps": 8}}, "fps: none → 8"),
        ({"clips": "a"}, {"clips": "b", CLIP_SETTINGS: {"shot": None}}, "the videos or their captions have changed"),
        ({"model": {"a": "1f"}}, {"model": {"a": "2e"}}, "model: the weights have changed"),
        (
            {"domain_adapter": [{"a": "1f"}, 1.0]},
            {"domain_adapter": [{"a": "1f"}, 0.5]},
            "scale of domain_adapter: 1.0 → 0.5",
        ),
    ],
)
def test_a_difference_is_described_by_its_setting(before, now, line):
    assert RunFingerprint(now).differences(before) == [line]


def test_settings_of_equal_clips_are_not_compared():
    assert RunFingerprint({"clips": "a", CLIP_SETTINGS: {"limit": 3}}).differences({"clips": "a"}) == []
