"""AdamW on float32 master weights with an exponential moving average, for modules of any dtype."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

WARMUP_STEPS = 200
FINAL_LR_FRACTION = 0.02
MAX_GRAD_NORM = 1.0


def learning_rate(peak: float, step: int, progress: float, warmup_steps: int = WARMUP_STEPS) -> float:
    """Return the learning rate: warm-up over the first steps, then a cosine over `progress` in [0, 1].

    Progress is elapsed time divided by the time limit, so that the schedule ends in time on any machine.
    """
    warmup = min(1.0, (step + 1) / warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * warmup * (FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * cosine)


class MasterWeights:
    """Float32 copies of trainable weights, with their AdamW state and moving average.

    Modules may compute in bfloat16, whose 8 bits of mantissa would lose small updates.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        ema_decay: float,
        weight_decay: float = 0.01,
        faster: Mapping[str, float] | None = None,
    ) -> None:
        """Copy the weights. `faster` maps parts of names to factors of the learning rate; the first match counts."""
        named = [(f"{prefix}.{name}", p) for prefix, m in modules.items() for name, p in m.named_parameters()]
        self.names = [name for name, _ in named]
        self.working = [parameter for _, parameter in named]
        self.masters = [parameter.detach().float().clone() for parameter in self.working]
        self.averages = [master.clone() for master in self.masters]
        self.ema_decay = ema_decay
        factors = [_factor(name, faster or {}) for name in self.names]
        groups = [
            {"params": [m for m, own in zip(self.masters, factors, strict=True) if own == factor], "factor": factor}
            for factor in sorted(set(factors))
        ]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)

    def step(self, step: int, lr: float) -> None:
        """Apply the gradients of the modules, clear them, and update the average.

        A step with non-finite gradients only changes the step count. Does not synchronize with the device.
        """
        self._collect_gradients()
        norm = nn.utils.clip_grad_norm_(self.masters, MAX_GRAD_NORM, foreach=True)
        # fused AdamW reads this attribute of gradient scalers, and skips the step if it is 1
        self.adamw.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        for group in self.adamw.param_groups:
            group["lr"] = lr * group.get("factor", 1.0)
        self.adamw.step()
        decay = min(self.ema_decay, (step + 1) / (step + 10))  # faster decay in early steps
        torch._foreach_lerp_(self.averages, self.masters, 1 - decay)
        self._publish()

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights, float32 on the CPU, under their prefixed names."""
        return {name: average.cpu().clone() for name, average in zip(self.names, self.averages, strict=True)}

    def state(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "names": self.names,
            "masters": self.masters,
            "averages": self.averages,
            "adamw": self.adamw.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore `state`. Raises `ValueError` if it belongs to other weights."""
        shapes = [tuple(master.shape) for master in state["masters"]]
        if state["names"] != self.names or shapes != [tuple(master.shape) for master in self.masters]:
            raise ValueError("the saved training state belongs to another architecture")
        torch._foreach_copy_(self.masters, state["masters"])
        torch._foreach_copy_(self.averages, state["averages"])
        self.adamw.load_state_dict(state["adamw"])
        self._publish()

    def _collect_gradients(self) -> None:
        """Copy gradients to the master weights in float32, in a few launches instead of one per weight."""
        reached = [(m, p) for m, p in zip(self.masters, self.working, strict=True) if p.grad is not None]
        gradients = [torch.empty_like(master) for master, _ in reached]
        torch._foreach_copy_(gradients, [parameter.grad for _, parameter in reached])
        for master, parameter in zip(self.masters, self.working, strict=True):
            master.grad, parameter.grad = None, None
        for (master, _), gradient in zip(reached, gradients, strict=True):
            master.grad = gradient

    @torch.no_grad()
    def _publish(self) -> None:
        torch._foreach_copy_(self.working, self.masters)


def _factor(name: str, faster: Mapping[str, float]) -> float:
    return next((factor for part, factor in faster.items() if part in name), 1.0)


@torch.no_grad()
def load_weights(module: nn.Module, prefix: str, weights: Mapping[str, Tensor]) -> None:
    """Load every parameter of `module` from `weights` under `prefix`. Raises `KeyError` if one is missing."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[f"{prefix}.{name}"])
