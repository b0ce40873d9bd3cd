"""The forwards of layers that run in Triton: group norms, with the SiLU of ResNets and autoencoders, and GEGLU."""

from collections.abc import Iterator
from typing import Any

import torch
import triton
from diffusers.models.activations import GEGLU
from torch import Tensor, nn

from animdiff_cli.diffusion.kernels import Replacement
from animdiff_cli.diffusion.kernels.geglu import _gate, gated
from animdiff_cli.diffusion.kernels.group_norm import group_norm
from animdiff_cli.diffusion.kernels.norm_forwards import NormForwards
from animdiff_cli.motion import module

IS_INTERPRETED = not isinstance(_gate, triton.JITFunction)  # TRITON_INTERPRET=1: on the CPU, for tests
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def replacements(network: nn.Module) -> Iterator[Replacement]:
    """Yield the layers of a UNet, a motion module, a ControlNet or an autoencoder with their faster forwards."""
    vectors = (weight for weight in network.parameters() if weight.dim() == 1)  # matrices may rest in 8 bits
    if next(vectors).dtype not in DTYPES:
        return
    yield from NORMS.replacements(network)
    for layer in network.modules():
        if isinstance(layer, (GEGLU, module.GEGLU)):
            yield layer, _geglu


def _geglu(self: Any, hidden_states: Tensor) -> Tensor:
    if NORMS.runs_plain(hidden_states):
        plain: Tensor = type(self).forward(self, hidden_states)
        return plain
    projected: Tensor = self.proj(hidden_states)
    return gated(projected)


NORMS = NormForwards(group_norm, lambda hidden: hidden.is_cuda or IS_INTERPRETED)
