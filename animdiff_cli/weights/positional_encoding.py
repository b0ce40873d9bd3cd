"""The sinusoidal positional encoding of motion modules. Files may leave it out."""

import math
from functools import cache

import torch
from torch import Tensor

from animdiff_cli.weights.lazy import LazyTensor, torch_dtype, wrap_tensor


def sinusoid(max_frames: int, width: int) -> Tensor:
    """Compute the encoding [1, max_frames, width]: interleaved sin and cos, float32, as in published files.

    It is on the CPU, also inside `on_meta`.
    """
    position = torch.arange(max_frames, device="cpu").unsqueeze(1)
    frequency = torch.exp(torch.arange(0, width, 2, device="cpu") * (-math.log(10000.0) / width))
    table = torch.zeros(1, max_frames, width, device="cpu")
    table[0, :, 0::2] = torch.sin(position * frequency)
    table[0, :, 1::2] = torch.cos(position * frequency)
    return table


def positional_encoding(max_frames: int, width: int, dtype: str) -> LazyTensor:
    """Return the encoding as a lazy tensor of a safetensors dtype."""
    return wrap_tensor(_cached(max_frames, width).to(torch_dtype(dtype)))


def is_sinusoid(tensor: LazyTensor) -> bool:
    """Return whether a stored encoding equals the computed one bit for bit."""
    if len(tensor.shape) != 3 or tensor.shape[0] != 1 or tensor.shape[2] % 2:
        return False
    return torch.equal(tensor.read(), positional_encoding(tensor.shape[1], tensor.shape[2], tensor.dtype).read())


@cache
def _cached(max_frames: int, width: int) -> Tensor:
    return sinusoid(max_frames, width)
