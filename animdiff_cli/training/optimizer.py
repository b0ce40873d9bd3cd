"""AdamW with a learning rate schedule, gradient scaling, clipping and an exponential moving average (EMA)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.core.choices import LrSchedule
from animdiff_cli.errors import DeviceError, UsageError
from animdiff_cli.training.fsdp import full_tensors, shard_like
from animdiff_cli.training.stages import ParameterGroup

BETAS, EPS = (0.9, 0.999), 1e-8  # from the official YAMLs
#: last value of a cosine schedule, as a share of the learning rate
FLOOR = 0.02


def lr_factor(step: int, total: int, warmup: int, schedule: LrSchedule) -> float:
    """Return the factor of the learning rate in step `step`, counted from 0.

    >>> [lr_factor(step, 100, 4, "constant") for step in (0, 1, 3, 50)]
    [0.25, 0.5, 1.0, 1.0]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if schedule == "constant":
        return rise
    progress = min(1.0, step / max(total, 1))
    return rise * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimizer:
    """Optimizer of a stage's parameters, all of them float32."""

    def __init__(
        self, groups: Sequence[ParameterGroup], config: TrainConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.config = config
        self.parameters = {name: p for number, group in enumerate(groups) for name, p in _prefixed(group, number)}
        exported = [dict(_prefixed(group, number)) for number, group in enumerate(groups) if group.exported]
        self.lrs = [group.lr for group in groups]
        self.adamw = _make_adamw(config, [list(group.parameters.values()) for group in groups], self.lrs, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.scaler.scale(torch.zeros((), device=device))  # creates its tensors, which it does lazily
        self.ema = (
            {name: self.parameters[name].detach().clone() for name in sorted(chain(*exported))} if config.ema else {}
        )

    @property
    def loss_scale(self) -> float:
        """Factor of the loss that keeps float16 gradients from underflowing; 1 for other dtypes."""
        return self.scaler.get_scale()

    def step(self, step: int) -> float:
        """Apply the gradients and clear them; return the learning rate of the first group.

        A step whose float16 gradients overflow only lowers the loss scale.
        """
        factor = lr_factor(step, self.config.steps, self.config.warmup, self.config.lr_schedule)
        for group, lr in zip(self.adamw.param_groups, self.lrs, strict=True):
            group["lr"] = lr * factor
        self.scaler.unscale_(self.adamw)
        for group in self.adamw.param_groups:
            nn.utils.clip_grad_norm_(group["params"], self.config.max_grad_norm)
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)
        self._update_ema(step)
        return self.lrs[0] * factor

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Replace the weights by their moving averages inside the context, if EMA is on."""
        trained = {name: self.parameters[name].detach().clone() for name in self.ema}
        _copy(self.parameters, self.ema)
        try:
            yield
        finally:
            _copy(self.parameters, trained)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs to continue exactly.

        With sharded weights, every process must call this; rank 0 gets the full tensors.
        """
        state: dict[str, Any] = full_tensors(
            {
                "weights": {name: parameter.detach() for name, parameter in self.parameters.items()},
                "averages": self.ema,
                "adamw": self.adamw.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
        )
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a `state_dict` of full tensors, sharding them if this run is sharded."""
        _copy(self.parameters, state["weights"])
        _copy(self.ema, state["averages"])
        self.adamw.load_state_dict(_sharded_moments(list(self.parameters.values()), state["adamw"]))
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    @torch.no_grad()
    def _update_ema(self, step: int) -> None:
        decay = min(self.config.ema, (step + 1) / (step + 10))  # lower at the start, to forget early weights
        if self.ema:
            torch._foreach_lerp_(list(self.ema.values()), [self.parameters[name] for name in self.ema], 1 - decay)


def _prefixed(group: ParameterGroup, number: int) -> Iterator[tuple[str, nn.Parameter]]:
    return ((f"{number}.{name}", parameter) for name, parameter in group.parameters.items())


@torch.no_grad()
def _copy(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, tensor in values.items():
        targets[name].copy_(shard_like(tensor, targets[name]))


def _sharded_moments(parameters: list[nn.Parameter], adamw: Mapping[str, Any]) -> dict[str, Any]:
    """Shard AdamW's moments like the parameters, which AdamW numbers through all groups."""
    state = {
        number: {key: shard_like(value, parameters[number]) if value.dim() else value for key, value in moments.items()}
        for number, moments in adamw["state"].items()
    }
    return {**adamw, "state": state}


def _make_adamw(config: TrainConfig, params: list[list[nn.Parameter]], lrs: list[float], device: torch.device) -> Any:
    groups = [{"params": list(ps), "lr": lr} for ps, lr in zip(params, lrs, strict=True)]
    settings: dict[str, Any] = {"betas": BETAS, "eps": EPS, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **settings)
    check_8bit(device)
    from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]  # optional dependency

    return AdamW8bit(groups, **settings)


def check_8bit(device: torch.device) -> None:
    """Raise `UsageError` or `DeviceError` if adamw8bit cannot run."""
    if device.type != "cuda":
        raise DeviceError("adamw8bit needs CUDA", hint="use `--optimizer adamw`")
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "adamw8bit needs the package bitsandbytes, which is not installed",
            hint="`pip install bitsandbytes`, or use `--optimizer adamw`",
        ) from error
