"""Event files contain the values of loss.csv, read back with TensorBoard's own reader."""

import numpy as np
import pytest

from animdiff_cli.core.events import Trained
from animdiff_cli.jobs.train import run_training
from animdiff_cli.training.metrics_log import read_metrics

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Killed(Exception):
    pass


def die_after(step):
    """Return a callback that kills the run after `step`, before its checkpoint is written."""

    def watch(event):
        if isinstance(event, Trained) and event.step == step:
            raise Killed

    return watch


@pytest.fixture
def check_events():
    """Compare the event files of a run, which are float32, with its loss.csv."""

    def check(plan, steps):
        events = accumulator.EventAccumulator(str(plan.out / "tensorboard"))
        events.Reload()
        rows = read_metrics(plan.out / "loss.csv")
        assert [row.step for row in rows] == list(range(1, steps + 1))
        for tag, wanted in (("loss", [row.loss for row in rows]), ("lr", [row.lr for row in rows])):
            scalars = events.Scalars(tag)
            assert [scalar.step for scalar in scalars] == [row.step for row in rows]
            assert np.array_equal(np.float32([scalar.value for scalar in scalars]), np.float32(wanted))

    return check


@pytest.mark.full
def test_event_files_equal_the_csv_also_after_a_kill_and_a_resume(make_plan, clips, check_events):
    plan = make_plan(tensorboard=True, steps=5, warmup=4, save_every=2)
    with pytest.raises(Killed):
        run_training(plan, clips, die_after(4))
    check_events(plan, 4)
    run_training(plan, clips)  # from the checkpoint of step 2: steps 3 and 4 are repeated
    check_events(plan, 5)
    run_training(make_plan(tensorboard=True, steps=2, lr=1e-3), clips, overwrite=True)
    check_events(plan, 2)
