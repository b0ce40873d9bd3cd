"""AdamW over the trainable weights, its learning rate as a function of the step, and their moving average."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.core.choices import LrSchedule
from animdiff_cli.errors import DeviceError, UsageError
from animdiff_cli.training.dtensor import gathered, like
from animdiff_cli.training.stages.stage import Group

BETAS, EPS = (0.9, 0.999), 1e-8  # the official YAMLs' values
#: what a cosine ends at, as a share of the learning rate
FLOOR = 0.02


def lr_factor(step: int, total: int, warmup: int, schedule: LrSchedule) -> float:
    """Return the share of the learning rate that step `step`, counted from 0, trains with.

    >>> [lr_factor(step, 100, 4, "constant") for step in (0, 1, 3, 50)]
    [0.25, 0.5, 1.0, 1.0]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if schedule == "constant":
        return rise
    progress = min(1.0, step / max(total, 1))
    return rise * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimizer:
    """AdamW, gradient scaling for fp16, clipping and averaging of a stage's parameters, all of them float32."""

    def __init__(self, groups: Sequence[Group], config: TrainConfig, device: torch.device, dtype: torch.dtype) -> None:
        self.config = config
        self.named = {name: p for number, group in enumerate(groups) for name, p in _prefixed(group, number)}
        kept = {name for number, group in enumerate(groups) if group.keep for name, _ in _prefixed(group, number)}
        self.rates = [group.lr for group in groups]
        self.adamw = _make(config, [list(group.parameters.values()) for group in groups], self.rates, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.scaler.scale(torch.zeros((), device=device))  # it makes its tensors when first asked to scale
        self.averages = {name: self.named[name].detach().clone() for name in sorted(kept)} if config.ema else {}

    @property
    def loss_scale(self) -> float:
        """What losses must be multiplied with so that fp16 gradients do not vanish; 1 in other formats."""
        return self.scaler.get_scale()

    def step(self, step: int) -> float:
        """Apply the gradients that are there and clear them; returns the first group's learning rate.

        A step whose fp16 gradients overflowed changes the loss scale only.
        """
        factor = lr_factor(step, self.config.steps, self.config.warmup, self.config.lr_schedule)
        for group, rate in zip(self.adamw.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.scaler.unscale_(self.adamw)
        for group in self.adamw.param_groups:
            nn.utils.clip_grad_norm_(group["params"], self.config.max_grad_norm)
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)
        self._average(step)
        return self.rates[0] * factor

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the moving averages in place of the weights for what is inside, where there are any."""
        last = {name: self.named[name].detach().clone() for name in self.averages}
        _copy(self.named, self.averages)
        try:
            yield
        finally:
            _copy(self.named, last)

    def state(self) -> dict[str, Any]:
        """Return everything a later run needs to go on exactly as if it had not stopped.

        Where weights are sharded all processes must call this, and the first one gets the whole of it.
        """
        state: dict[str, Any] = gathered(
            {
                "weights": {name: parameter.detach() for name, parameter in self.named.items()},
                "averages": self.averages,
                "adamw": self.adamw.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
        )
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, whole, however many processes it is of."""
        _copy(self.named, state["weights"])
        _copy(self.averages, state["averages"])
        self.adamw.load_state_dict(_moments_like(list(self.named.values()), state["adamw"]))
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.config.ema, (step + 1) / (step + 10))  # early weights are soon forgotten
        if self.averages:
            torch._foreach_lerp_(list(self.averages.values()), [self.named[name] for name in self.averages], 1 - decay)


def _prefixed(group: Group, number: int) -> Iterator[tuple[str, nn.Parameter]]:
    return ((f"{number}.{name}", parameter) for name, parameter in group.parameters.items())


@torch.no_grad()
def _copy(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, tensor in values.items():
        into[name].copy_(like(tensor, into[name]))


def _moments_like(parameters: list[nn.Parameter], adamw: Mapping[str, Any]) -> dict[str, Any]:
    """Cut moments as the parameters are cut. AdamW numbers parameters through all of its groups."""
    state = {
        number: {key: like(value, parameters[number]) if value.dim() else value for key, value in moments.items()}
        for number, moments in adamw["state"].items()
    }
    return {**adamw, "state": state}


def _make(config: TrainConfig, params: list[list[nn.Parameter]], rates: list[float], device: torch.device) -> Any:
    groups = [{"params": list(ps), "lr": rate} for ps, rate in zip(params, rates, strict=True)]
    settings: dict[str, Any] = {"betas": BETAS, "eps": EPS, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **settings)
    check_8bit(device)
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, **settings)


def check_8bit(device: torch.device) -> None:
    """Raise `UsageError` or `DeviceError` where adamw8bit cannot run."""
    if device.type != "cuda":
        raise DeviceError("adamw8bit runs on CUDA only", hint="use `--optimizer adamw`")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "adamw8bit needs the package bitsandbytes, which is not installed",
            hint="`pip install bitsandbytes`, or use `--optimizer adamw`",
        ) from error
