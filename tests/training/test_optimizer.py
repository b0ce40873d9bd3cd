"""float16 gradients are scaled, and steps that overflow are skipped."""

import pytest
import torch

from animdiff_cli.training.optimizer import Optimizer
from animdiff_cli.training.stages import ParameterGroup


@pytest.fixture
def make_optimizer(make_plan):
    def make(weight):
        return Optimizer(
            [ParameterGroup({"weight": weight}, 0.1)],
            make_plan("motion-module", ema=0.0).config,
            torch.device("cpu"),
            torch.float16,
        )

    return make


def test_a_float16_overflow_changes_the_loss_scale_only(make_optimizer):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = make_optimizer(weight)
    scale = optimizer.loss_scale
    weight.grad = torch.tensor([1.0, torch.inf, 1.0])
    optimizer.step(0)
    assert weight.tolist() == [1.0, 1.0, 1.0] and weight.grad is None
    assert optimizer.loss_scale == scale / 2
    weight.grad = torch.full((3,), optimizer.loss_scale)
    optimizer.step(1)
    assert (weight < 1).all()


def test_the_loss_scale_is_part_of_the_state_dict(make_optimizer):
    weight = torch.nn.Parameter(torch.ones(3))
    first, second = make_optimizer(weight), make_optimizer(weight)
    weight.grad = torch.full((3,), torch.inf)
    first.step(0)
    assert second.loss_scale != first.loss_scale
    second.load_state_dict(first.state_dict())
    assert second.loss_scale == first.loss_scale
