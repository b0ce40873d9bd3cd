"""The UNet that motion modules plug into, as a type.

Diffusers' `UNet2DConditionModel` of Stable Diffusion 1.5 and SDXL fits it.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class UNet(Protocol):
    """The part of `UNet2DConditionModel` that this program uses. Blocks hold `resnets` and mostly `attentions`."""

    config: Any  # a FrozenDict: mapping and attributes
    conv_in: nn.Module
    down_blocks: Any
    mid_block: Any
    up_blocks: Any
    conv_norm_out: nn.GroupNorm

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, *, return_dict: bool, **kwargs: Any
    ) -> Any:
        """Predict noise for images [B*F, C, h, w]; returns a tuple if `return_dict` is False."""

    def modules(self) -> Iterator[nn.Module]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def requires_grad_(self, requires_grad: bool = True) -> Any: ...

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Any = None) -> None: ...
