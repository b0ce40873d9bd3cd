"""Training ends on time, continues where it was cut, and keeps its weights in float32."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from animdiff_cli.errors import UsageError
from tools.pocket.loop import Budget, load_trained, train
from tools.pocket.optimiser import MasterWeights, learning_rate, load_weights


@dataclass
class Line:
    """A real stage in small: fit y = 2x with noisy draws, so that random numbers matter."""

    layer: nn.Linear = field(default_factory=lambda: seeded_layer())
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(3))
    name: str = "line"
    batch: int = 4
    peak_lr: float = 0.05
    ema_decay: float = 0.9

    def modules(self) -> Mapping[str, nn.Module]:
        return {"layer": self.layer}

    def draw(self) -> tuple[Tensor, ...]:
        return (torch.rand(self.batch, 1, generator=self.generator),)

    def loss(self, x: Tensor) -> Tensor:
        return (self.layer(x) - 2 * x).square().mean()


def seeded_layer() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(1, 1)


def steps(total: float, stop_after: float = float("inf")) -> Budget:
    """A budget on a clock that ticks one second per step."""
    ticks = count()
    return Budget(total, stop_at=stop_after, clock=lambda: float(next(ticks)))


def quiet(*_: object) -> None:
    pass


def test_resumed_training_ends_in_the_same_weights_as_uninterrupted(tmp_path: Path):
    whole = train(Line(), steps(40), tmp_path / "whole.pt", quiet)
    cut = train(Line(), steps(40, stop_after=17), tmp_path / "cut.pt", quiet)
    assert (cut.step, cut.complete) == (17, False)
    resumed = train(Line(), steps(40), tmp_path / "cut.pt", quiet)
    assert (resumed.step, resumed.complete) == (whole.step, True)
    for name, weight in whole.weights.items():
        assert torch.equal(weight, resumed.weights[name])


def test_finished_stage_takes_no_further_step(tmp_path: Path):
    first = train(Line(), steps(10), tmp_path / "line.pt", quiet)
    again = train(Line(), steps(10), tmp_path / "line.pt", quiet)
    assert (first.step, again.step) == (10, 10)


def test_loss_falls_and_is_reported(tmp_path: Path):
    losses: list[float] = []
    train(Line(), steps(300), tmp_path / "line.pt", lambda *row: losses.append(row[-1]))
    assert losses[-1] < losses[0] / 10


def test_state_of_another_architecture_is_refused(tmp_path: Path):
    train(Line(), steps(5), tmp_path / "line.pt", quiet)
    with pytest.raises(UsageError, match="another architecture") as refused:
        train(Line(layer=nn.Linear(1, 1, bias=False)), steps(5), tmp_path / "line.pt", quiet)
    assert "--no-resume" in refused.value.hint


def test_untrained_stage_says_how_to_train_it(tmp_path: Path):
    with pytest.raises(UsageError) as missing:
        load_trained(tmp_path / "vae.pt")
    assert "--stage vae" in missing.value.hint


def test_learning_rate_warms_up_and_ends_annealed():
    assert learning_rate(1.0, step=0, progress=0.0) < 0.01
    assert learning_rate(1.0, step=1000, progress=0.0) == 1.0
    assert learning_rate(1.0, step=1000, progress=1.0) == pytest.approx(0.02)
    assert learning_rate(1.0, step=1000, progress=1.5) == pytest.approx(0.02)


def test_updates_too_small_for_bfloat16_still_add_up():
    layer = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(layer.weight)
    weights = MasterWeights({"layer": layer}, ema_decay=0.0, weight_decay=0.0)
    for step in range(100):
        layer.weight.grad = torch.ones_like(layer.weight)
        weights.step(step, lr=1e-4)
    assert layer.weight.item() == pytest.approx(0.99, abs=0.004)


def test_gradient_that_is_not_a_number_changes_nothing():
    layer = nn.Linear(2, 1)
    weights = MasterWeights({"layer": layer}, ema_decay=0.9)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[float("nan"), 1.0]])
    layer.bias.grad = torch.ones(1)
    weights.step(0, lr=0.1)
    assert torch.equal(layer.weight, before)
    layer.weight.grad, layer.bias.grad = torch.ones(1, 2), torch.ones(1)
    weights.step(1, lr=0.1)
    assert not torch.equal(layer.weight, before)


def test_loading_weights_misses_no_parameter():
    layer = nn.Linear(2, 1)
    with pytest.raises(KeyError, match="bias"):
        load_weights(layer, "layer", {"layer.weight": torch.zeros(1, 2)})
