"""The training loop of all stages: time-limited, with an annealed learning rate, and resumable."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from animdiff_cli.errors import UsageError
from tools.pocket.backward import eager_backward, graphed_backward
from tools.pocket.optimiser import WARMUP_STEPS, MasterWeights, learning_rate

LOG_EVERY_S = 5.0
SAVE_EVERY_S = 60.0

Clock = Callable[[], float]


class Stage(Protocol):
    """One stage of the recipe: modules to train and their loss."""

    name: str
    batch: int  # images or clips per step
    peak_lr: float
    ema_decay: float
    generator: torch.Generator

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the modules to train by the prefix of their saved weights."""
        ...

    def draw(self) -> tuple[Tensor, ...]:
        """Draw a batch from `generator`. Shapes are constant."""
        ...

    def loss(self, *batch: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """Progress of a stage. `weights` are the averaged weights, float32."""

    stage: str
    weights: dict[str, Tensor]
    step: int
    elapsed_s: float
    loss: float
    complete: bool
    facts: dict[str, float]  # batch, peak_lr and requested minutes


@dataclass(frozen=True, slots=True)
class Budget:
    """Training time of a stage in total, and when this process must stop."""

    seconds: float
    stop_at: float = float("inf")  # on `clock`
    clock: Clock = time.monotonic


def train(
    stage: Stage,
    budget: Budget,
    file: Path,
    report: Callable[[str, int, float, float, float], None],
    *,
    graphed: bool = False,
) -> Trained:
    """Train `stage` until its time is used up. Resumes from `file` if it exists.

    Time spent in earlier runs counts. `report` receives stage, step, elapsed seconds, learning rate and mean loss.
    `graphed` replays loss and gradients as one CUDA graph: small models are limited by kernel launches.
    """
    faster, warmup_steps = getattr(stage, "faster", None), getattr(stage, "warmup_steps", WARMUP_STEPS)
    weights = MasterWeights(stage.modules(), ema_decay=stage.ema_decay, faster=faster)
    step, spent, loss = _restore(file, stage, weights)
    backward = graphed_backward(stage) if graphed else eager_backward(stage)
    start = logged = saved = budget.clock()
    total, count = torch.zeros((), device=stage.generator.device), 0
    now = start
    while spent + now - start < budget.seconds and now < budget.stop_at:
        lr = learning_rate(stage.peak_lr, step, (spent + now - start) / budget.seconds, warmup_steps)
        current = backward()
        weights.step(step, lr)
        step, total, count = step + 1, total + current.detach().float(), count + 1
        now = budget.clock()
        if now - logged >= LOG_EVERY_S:
            loss, total, count, logged = total.item() / count, torch.zeros_like(total), 0, now
            report(stage.name, step, spent + now - start, lr, loss)
        if now - saved >= SAVE_EVERY_S:
            _save(file, stage, weights, budget, step, spent + now - start, loss)
            saved = now
    if count:
        loss = total.item() / count
        report(stage.name, step, spent + now - start, lr, loss)
    _save(file, stage, weights, budget, step, spent + now - start, loss)
    return load_trained(file)


def load_trained(file: Path) -> Trained:
    """Read the averaged weights of a stage. Raises `UsageError` if it was never trained."""
    if not file.exists():
        raise UsageError(
            f"stage `{file.stem}` has not been trained in {file.parent}",
            hint=f"python -m tools.pocket train --stage {file.stem} --minutes 30 --work {file.parent}",
        )
    state = torch.load(file, map_location="cpu", weights_only=True)
    weights = dict(zip(state["weights"]["names"], state["weights"]["averages"], strict=True))
    return Trained(
        state["stage"], weights, state["step"], state["elapsed_s"], state["loss"], state["complete"], state["facts"]
    )


def _restore(file: Path, stage: Stage, weights: MasterWeights) -> tuple[int, float, float]:
    """Load step, elapsed seconds and last loss; restore weights and generator state."""
    if not file.exists():
        return 0, 0.0, float("nan")
    state: dict[str, Any] = torch.load(file, map_location=stage.generator.device, weights_only=True)
    try:
        weights.restore(state["weights"])
    except ValueError as error:
        raise UsageError(f"{file}: {error}", hint="add `--no-resume` to start over in that folder") from error
    # the generator state is invalid if the run continues on another kind of device
    if state["generator_device"] == stage.generator.device.type:
        stage.generator.set_state(state["generator"].cpu())
    return state["step"], state["elapsed_s"], state["loss"]


def _save(
    file: Path, stage: Stage, weights: MasterWeights, budget: Budget, step: int, elapsed_s: float, loss: float
) -> None:
    state = {
        "stage": stage.name,
        "step": step,
        "elapsed_s": elapsed_s,
        "loss": loss,
        "complete": elapsed_s >= budget.seconds,
        "facts": {"batch": stage.batch, "peak_lr": stage.peak_lr, "minutes": round(budget.seconds / 60, 3)},
        "generator": stage.generator.get_state(),
        "generator_device": stage.generator.device.type,
        "weights": weights.state(),
    }
    partial = file.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(file)
