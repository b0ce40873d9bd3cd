"""Gradients of float16 activations are scaled, and a step that overflowed is left out."""

import pytest
import torch

from animdiff_cli.training.optimizer import Optimizer
from animdiff_cli.training.stages.stage import Group


@pytest.fixture
def make_optimiser(make_plan):
    def make(weight):
        return Optimizer(
            [Group({"weight": weight}, 0.1)],
            make_plan("motion-module", ema=0.0).config,
            torch.device("cpu"),
            torch.float16,
        )

    return make


def test_a_float16_step_that_overflowed_changes_the_loss_scale_only(make_optimiser):
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = make_optimiser(weight)
    scale = optimiser.loss_scale
    weight.grad = torch.tensor([1.0, torch.inf, 1.0])
    optimiser.step(0)
    assert weight.tolist() == [1.0, 1.0, 1.0] and weight.grad is None
    assert optimiser.loss_scale == scale / 2
    weight.grad = torch.full((3,), optimiser.loss_scale)
    optimiser.step(1)
    assert (weight < 1).all()


def test_the_loss_scale_is_kept_in_a_checkpoint(make_optimiser):
    weight = torch.nn.Parameter(torch.ones(3))
    first, second = make_optimiser(weight), make_optimiser(weight)
    weight.grad = torch.full((3,), torch.inf)
    first.step(0)
    assert second.loss_scale != first.loss_scale
    second.restore(first.state())
    assert second.loss_scale == first.loss_scale
