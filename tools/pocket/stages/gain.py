"""How much a condition helps: the loss of a stage with it and without."""

import torch
from torch import Tensor


class ConditionStage:
    """A stage that trains a condition of a frozen UNet, on batches of tensors that `draw` returns."""

    generator: torch.Generator

    def draw(self) -> tuple[Tensor, ...]:
        """Draw a batch."""
        raise NotImplementedError

    def loss(self, *batch: Tensor) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError

    def loss_without(self, *batch: Tensor) -> Tensor:
        """Return the loss of a batch without the condition."""
        raise NotImplementedError

    @torch.no_grad()
    def gain(self, batches: int = 2) -> float:
        """Return by how much the condition lowers the loss, as a share of the loss without it, on fixed batches."""
        state = self.generator.get_state()
        self.generator.manual_seed(0)
        drawn = [self.draw() for _ in range(batches)]
        self.generator.set_state(state)
        return 1 - sum(self.loss(*batch).item() for batch in drawn) / sum(
            self.loss_without(*batch).item() for batch in drawn
        )
