"""AdamW over float32 master weights, with their moving average, for modules that compute in any dtype."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

WARMUP_STEPS = 200
FINAL_LR_FRACTION = 0.02
MAX_GRAD_NORM = 1.0


def learning_rate(peak: float, step: int, progress: float) -> float:
    """Warm up over the first steps, then follow a cosine over `progress` in [0, 1].

    Progress is elapsed time over the time given, so training ends annealed on a machine of any speed.
    """
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * warmup * (FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * cosine)


class MasterWeights:
    """Float32 copies of the trainable weights of some modules, their AdamW state and their moving average.

    The modules may compute in bfloat16: its 8 bits of mantissa would swallow small updates, so those happen here.
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, ema_decay: float, weight_decay: float = 0.01) -> None:
        named = [(f"{prefix}.{name}", p) for prefix, m in modules.items() for name, p in m.named_parameters()]
        self.names = [name for name, _ in named]
        self.working = [parameter for _, parameter in named]
        self.masters = [parameter.detach().float().clone() for parameter in self.working]
        self.averages = [master.clone() for master in self.masters]
        self.ema_decay = ema_decay
        self.adamw = torch.optim.AdamW(self.masters, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)

    def step(self, step: int, lr: float) -> None:
        """Apply the gradients the modules hold, clear them, and move the average along.

        A step whose gradients are not finite changes nothing but the step count; no value travels to the host.
        """
        self._collect_gradients()
        norm = nn.utils.clip_grad_norm_(self.masters, MAX_GRAD_NORM, foreach=True)
        # fused AdamW reads this attribute, set by gradient scalers, and skips the step where it is 1
        self.adamw.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        decay = min(self.ema_decay, (step + 1) / (step + 10))  # early weights are soon forgotten
        torch._foreach_lerp_(self.averages, self.masters, 1 - decay)
        self._publish()

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights, float32 on the CPU, under their prefixed names."""
        return {name: average.cpu().clone() for name, average in zip(self.names, self.averages, strict=True)}

    def state(self) -> dict[str, Any]:
        """Return everything a later run needs to continue."""
        return {
            "names": self.names,
            "masters": self.masters,
            "averages": self.averages,
            "adamw": self.adamw.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`. Raises `ValueError` if it belongs to other weights."""
        shapes = [tuple(master.shape) for master in state["masters"]]
        if state["names"] != self.names or shapes != [tuple(master.shape) for master in self.masters]:
            raise ValueError("the saved training state belongs to another architecture")
        torch._foreach_copy_(self.masters, state["masters"])
        torch._foreach_copy_(self.averages, state["averages"])
        self.adamw.load_state_dict(state["adamw"])
        self._publish()

    def _collect_gradients(self) -> None:
        """Move the modules' gradients to the masters in float32, in a few launches instead of one per weight."""
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


@torch.no_grad()
def load_weights(module: nn.Module, prefix: str, weights: Mapping[str, Tensor]) -> None:
    """Fill every parameter of `module` from `weights` under `prefix`. Raises `KeyError` for one that is missing."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[f"{prefix}.{name}"])
