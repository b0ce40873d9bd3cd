"""Layers in compiled C++ (`native.library`): attention, convolutions of 3 x 3, and group norm with SiLU.

Every function computes in float32 and returns None where there is no library. Tensors are on the CPU, of one dtype:
float32 or bf16.
"""

import ctypes
from collections.abc import Iterable, MutableMapping

import torch
from torch import Tensor, nn
from torch.profiler import record_function
from torch.utils.weak import WeakIdKeyDictionary

from animdiff_cli.diffusion.kernels import native

#: numbers of a matrix of weights at one of 36 points. SD1.5 has up to 2560 x 1280: 36 float32 copies of such a matrix
#: would not fit into a cache, and of all of them not into a laptop
MAX_WEIGHTS = 512 * 256
MIN_PIXELS = 8  # of the 16 of a tile, on average: with fewer, torch is as fast
POINTS = 36
#: from three weights to the values at 0, 2/3, -2/3, 3/2, -3/2 and infinity of the polynomials in convolution.cpp
TO_POINTS = (
    (1, 0, 0),
    (-81 / 130, -27 / 65, -18 / 65),
    (-81 / 130, 27 / 65, -18 / 65),
    (8 / 65, 12 / 65, 18 / 65),
    (8 / 65, -12 / 65, 18 / 65),
    (0, 0, 1),
)
#: weights of convolutions: their memory (kept, so that no other weights get the same address), version, and values at
#: the points
_prepared: MutableMapping[Tensor, tuple[Tensor, int, Tensor]] = WeakIdKeyDictionary()


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor | None:
    """Compute attention of tensors [B, heads, tokens, D], views whose numbers of one head are contiguous or any others.

    Softmax and sums are in float32.
    """
    if (library := native.library()) is None:
        return None
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    batch, heads, queries, width = query.shape
    output = torch.empty(batch, queries, heads, width, dtype=query.dtype).transpose(1, 2)
    tensors = (query, key, value, output)
    strides = _integers(stride for x in tensors for stride in x.stride()[:3])
    factor = width**-0.5 if scale is None else scale
    with record_function("native_attention"):  # else profiles would not show it
        library.attention(
            *map(Tensor.data_ptr, tensors),
            _integers((batch, heads, queries, key.shape[2], width)),
            strides,
            factor,
            query.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
    return output


def group_norm(
    hidden: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    *,
    added: Tensor | None = None,
    silu: bool = False,
    num_frames: int = 1,
) -> Tensor | None:
    """Normalize `hidden` [N, C, ...] as `kernels.group_norm.group_norm` does, channels last in memory."""
    if (library := native.library()) is None:
        return None
    rows = hidden.movedim(1, -1).contiguous()
    normed = torch.empty_like(rows)
    images, channels = hidden.shape[:2]
    added = None if added is None else added.contiguous()
    with record_function("native_group_norm"):
        library.group_norm(
            rows.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            None if added is None else added.data_ptr(),
            normed.data_ptr(),
            _integers((images, rows[0].numel() // channels, channels, num_groups, num_frames)),
            eps,
            silu,
            hidden.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
    return normed.movedim(-1, 1)


def convolution(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Convolve [N, in, H, W] with [out, in, 3, 3], one row of zeros around; channels last in memory.

    None also for numbers of channels that are no multiples of a register's, weights that are too many or no parameters
    of a network (they are prepared once a clip), and images that fill too little of tiles of 4 x 4 pixels.
    """
    images, channels, height, width = input.shape
    columns = 32 if native.instruction_set() == "AVX512" else 16
    fits = channels % (columns // 2) == 0 and len(weight) % columns == 0 and channels * len(weight) <= MAX_WEIGHTS
    tiles = -(-height // 4) * -(-width // 4)
    if not fits or not isinstance(weight, nn.Parameter) or weight.is_inference() or tiles * MIN_PIXELS > height * width:
        return None
    if (library := native.library()) is None:
        return None
    input = input.contiguous(memory_format=torch.channels_last)
    points = _at_points(weight, columns)
    output = torch.empty(images, height, width, len(weight), dtype=input.dtype)
    with record_function("native_convolution"):
        library.convolution(
            input.data_ptr(),
            points.data_ptr(),
            None if bias is None else bias.contiguous().data_ptr(),
            output.data_ptr(),
            _integers((images, height, width, channels, len(weight))),
            input.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
    return output.permute(0, 3, 1, 2)


def forget_weights() -> None:
    """Prepare the weights of convolutions anew at their next use."""
    _prepared.clear()


def _at_points(weight: nn.Parameter, columns: int) -> Tensor:
    """Return the values [36, out / columns, in, columns] of a convolution's weights, anew where they have changed."""
    known = _prepared.get(weight)
    if known is None or known[0].data_ptr() != weight.data_ptr() or known[1] != weight._version:
        # in float64: rounding in float32 would depend on the number of threads
        matrix = torch.tensor(TO_POINTS, dtype=torch.float64)
        rows = torch.einsum("pa,ocab,qb->pqco", matrix, weight.detach().double(), matrix).float()
        values = rows.reshape(POINTS, weight.shape[1], -1, columns).transpose(1, 2).contiguous()
        _prepared[weight] = known = weight.detach(), weight._version, values
    return known[2]


def _integers(numbers: Iterable[int]) -> "ctypes.Array[ctypes.c_int64]":
    values = tuple(numbers)
    return (ctypes.c_int64 * len(values))(*values)
