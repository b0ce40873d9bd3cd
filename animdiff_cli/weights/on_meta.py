"""Build networks for their shapes alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def on_meta() -> Iterator[None]:
    """Build networks on torch's `meta` device inside this context: no memory is allocated, no weight initialized."""
    with torch.device("meta"), _WithoutInit():
        yield


class _WithoutInit(TorchFunctionMode):
    """Leave out initial weights and the values of `arange`, for which the meta device imports torch's compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return named["tensor"] if "tensor" in named else args[0]
        if func is torch.arange and "device" not in named:
            values = func(*args, **{**named, "device": "cpu"})
            return torch.empty(values.shape, dtype=values.dtype, device="meta")
        return func(*args, **named)
