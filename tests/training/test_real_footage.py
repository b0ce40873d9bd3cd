"""A MotionLoRA learns from real footage: a street, a talking head and an animated film, five seconds each."""

import numpy as np
import pytest

from animdiff_cli import generate
from animdiff_cli.jobs.train import run_training
from animdiff_cli.training.data.dataset import scan
from animdiff_cli.training.metrics_log import read_metrics

VIDEOS = ("bigbuckbunny", "bikes", "carphone_pristine")
STEPS = 4


@pytest.fixture
def plan_on(make_plan, real, tmp_path):
    """Plan a run that uses each of the real videos once per step."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in VIDEOS:
        (folder / f"{name}.mp4").symlink_to(real(name))

    def plan(out, lr):
        data = {"data__videos": str(folder), "data__caption": "footage", "data__square": True}
        return make_plan(out=out, lr=lr, variants=1, steps=STEPS, batch=len(VIDEOS), save_every=100, **data)

    return plan


def train(plan):
    clips = scan(plan.config.data)
    assert [item.name for item in clips.items] == [f"{name}.mp4" for name in VIDEOS]
    return run_training(plan, clips).path


def losses(plan):
    return [row.loss for row in read_metrics(plan.out / "loss.csv")]


@pytest.mark.full
def test_the_loss_falls_and_the_result_renders(plan_on, toy_model, toy_motion_file):
    # at this rate nothing is learned: these are the untrained losses on the same clips, timesteps and noise
    untrained = plan_on("untrained", lr=1e-12)
    train(untrained)
    plan = plan_on("learning", lr=0.1)
    trained = train(plan)
    assert losses(plan)[0] == losses(untrained)[0]
    assert all(learned < before for learned, before in zip(losses(plan)[1:], losses(untrained)[1:], strict=True))
    assert losses(plan)[-1] < 0.99 * losses(untrained)[-1]

    small = {"model": toy_model, "motion_module": toy_motion_file, "num_frames": 4, "width": 64, "height": 64}
    plain, moved = (generate("a street", **small, steps=1, seed=1, motion_loras=loras) for loras in ([], [trained]))
    assert not np.array_equal(plain.frames, moved.frames)
    assert not np.array_equal(moved.frames[0], moved.frames[-1])
