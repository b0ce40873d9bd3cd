"""The position code of motion modules: a fixed sinusoid over the frame index, which files may keep or leave out."""

import math
from functools import cache

import torch
from torch import Tensor

from animdiff_cli.weights.lazy import LazyTensor, torch_dtype, wrap_tensor


def sinusoid(max_frames: int, width: int) -> Tensor:
    """Position code [1, max_frames, width], interleaved sin and cos, in float32 like the published tables."""
    position = torch.arange(max_frames).unsqueeze(1)
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(1, max_frames, width)
    table[0, :, 0::2] = torch.sin(position * frequency)
    table[0, :, 1::2] = torch.cos(position * frequency)
    return table


def positional_encoding(max_frames: int, width: int, dtype: str) -> LazyTensor:
    """The same as it stands in a file of this number format."""
    return wrap_tensor(_cached(max_frames, width).to(torch_dtype(dtype)))


def is_sinusoid(tensor: LazyTensor) -> bool:
    """Tell whether a stored position code is, to the last bit, the one that would be computed."""
    if len(tensor.shape) != 3 or tensor.shape[0] != 1 or tensor.shape[2] % 2:
        return False
    return torch.equal(tensor.read(), positional_encoding(tensor.shape[1], tensor.shape[2], tensor.dtype).read())


@cache
def _cached(max_frames: int, width: int) -> Tensor:
    return sinusoid(max_frames, width)
