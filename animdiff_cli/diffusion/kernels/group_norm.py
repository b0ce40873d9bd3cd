"""Group norm of channels-last activations with SiLU, in Triton.

PyTorch's CUDA group norm converts channels-last input to contiguous, and the convolution that follows converts it back;
SiLU is one more pass. Here activations stay as they are: one pass for the moments of every channel, one over these few
numbers, and one that scales, shifts and activates. Statistics are float32, in a numerically stable form (Chan et al.
1983, "Algorithms for computing the sample variance").
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_ROWS = 64
BLOCK_CHANNELS = 64
PROGRAMS = 1024  # enough to keep a large GPU busy; the rows of an image are split until there are as many
MAX_SPLITS = 64


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
) -> Tensor:
    """Normalize `hidden` [N, C, ...] in groups of channels; return the same shape and dtype, channels last in memory.

    `added` [N, C] is added to all positions of `hidden` before. `silu` applies x * sigmoid(x) after. Statistics span
    `num_frames` consecutive images. Input that is not channels-last is copied once.
    """
    rows = hidden.movedim(1, -1).contiguous()
    normed = torch.empty_like(rows)
    images, channels = hidden.shape[:2]
    num_rows = rows[0].numel() // channels
    blocks = triton.cdiv(channels, BLOCK_CHANNELS)
    splits = max(1, min(PROGRAMS // (images * blocks), MAX_SPLITS, triton.cdiv(num_rows, BLOCK_ROWS)))
    rows_per_split = triton.cdiv(num_rows, splits)
    splits = triton.cdiv(num_rows, rows_per_split)
    moments = torch.empty(2, images, splits, channels, dtype=torch.float32, device=hidden.device)
    affine = torch.empty(2, images, channels, dtype=torch.float32, device=hidden.device)
    added = affine if added is None else added.contiguous()  # `affine` is not read
    has_added = added is not affine
    _moments[(images * splits, blocks)](
        rows, moments, num_rows, channels, splits, rows_per_split, images, BLOCK_ROWS, BLOCK_CHANNELS
    )
    width = channels // num_groups
    _affine[(images // num_frames, num_groups)](
        moments,
        affine,
        weight,
        bias,
        added,
        eps,
        num_rows,
        channels,
        width,
        splits,
        rows_per_split,
        images,
        num_frames,
        has_added,
        triton.next_power_of_2(splits),
        triton.next_power_of_2(width),
    )
    _apply[(images * triton.cdiv(num_rows, BLOCK_ROWS), blocks)](
        rows, affine, normed, num_rows, channels, images, silu, BLOCK_ROWS, BLOCK_CHANNELS
    )
    return normed.movedim(-1, 1)


@triton.jit
def _moments(
    rows: tl.tensor,
    moments: tl.tensor,
    num_rows: tl.tensor,
    channels: tl.tensor,
    splits: tl.tensor,
    rows_per_split: tl.tensor,
    images: tl.tensor,
    block_rows: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Write the mean, and the sum of squared differences from it, of each channel in one split of one image."""
    image = tl.program_id(0) // splits
    split = tl.program_id(0) % splits
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    is_channel = channel < channels
    first = split * rows_per_split
    end = tl.minimum(first + rows_per_split, num_rows)
    mean = tl.zeros([block_channels], dtype=tl.float32)
    squares = tl.zeros([block_channels], dtype=tl.float32)
    base = rows + image.to(tl.int64) * num_rows * channels
    for start in range(first, end, block_rows):
        row = start + tl.arange(0, block_rows)
        mask = (row < end)[:, None] & is_channel[None, :]
        tile = tl.load(base + row.to(tl.int64)[:, None] * channels + channel[None, :], mask=mask, other=0.0)
        tile = tile.to(tl.float32)
        count = tl.minimum(end - start, block_rows).to(tl.float32)
        tile_mean = tl.sum(tile, axis=0) / count
        difference = tl.where(mask, tile - tile_mean[None, :], 0.0)
        done = (start - first).to(tl.float32)
        delta = tile_mean - mean
        mean += delta * (count / (done + count))
        squares += tl.sum(difference * difference, axis=0) + delta * delta * (done * count / (done + count))
    place = (image * splits + split) * channels + channel
    tl.store(moments + place, mean, mask=is_channel)
    tl.store(moments + images * splits * channels + place, squares, mask=is_channel)


@triton.jit
def _affine(
    moments: tl.tensor,
    affine: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    added: tl.tensor,
    eps: tl.tensor,
    num_rows: tl.tensor,
    channels: tl.tensor,
    width: tl.tensor,
    splits: tl.tensor,
    rows_per_split: tl.tensor,
    images: tl.tensor,
    num_frames: tl.tensor,
    has_added: tl.constexpr,
    block_splits: tl.constexpr,
    block_width: tl.constexpr,
) -> None:
    """Unite the moments of one group in one clip; write the scale and shift of its channels in each of its images.

    A channel to which a constant is added has another mean, and the same differences from it.
    """
    clip = tl.program_id(0)
    member = tl.arange(0, block_width)
    is_member = member < width
    channel = tl.program_id(1) * width + member
    split = tl.arange(0, block_splits)
    mask = (split < splits)[:, None] & is_member[None, :]
    counts = tl.minimum(num_rows - split * rows_per_split, rows_per_split).to(tl.float32)
    counts = tl.where(mask, counts[:, None], 0.0)
    count = num_rows * width * 1.0
    mean = 0.0
    squares = 0.0
    done = 0.0
    for frame in range(num_frames):
        image = clip * num_frames + frame
        place = (image * splits + split)[:, None] * channels + channel[None, :]
        means = tl.load(moments + place, mask=mask, other=0.0)
        if has_added:
            constant = tl.load(added + image * channels + channel, mask=is_member, other=0.0)
            means += constant.to(tl.float32)[None, :]
        own = tl.load(moments + images * splits * channels + place, mask=mask, other=0.0)
        frame_mean = tl.sum(means * counts) / count
        difference = means - frame_mean
        delta = frame_mean - mean
        mean += delta * (count / (done + count))
        squares += tl.sum(own + counts * difference * difference) + delta * delta * (done * count / (done + count))
        done += count
    deviation = tl.rsqrt(squares / done + eps)
    scale = tl.load(weight + channel, mask=is_member, other=0.0).to(tl.float32) * deviation
    shift = tl.load(bias + channel, mask=is_member, other=0.0).to(tl.float32) - mean * scale
    for frame in range(num_frames):
        image = clip * num_frames + frame
        of_image = shift
        if has_added:
            constant = tl.load(added + image * channels + channel, mask=is_member, other=0.0)
            of_image = shift + constant.to(tl.float32) * scale
        tl.store(affine + image * channels + channel, scale, mask=is_member)
        tl.store(affine + (images + image) * channels + channel, of_image, mask=is_member)


@triton.jit
def _apply(
    rows: tl.tensor,
    affine: tl.tensor,
    normed: tl.tensor,
    num_rows: tl.tensor,
    channels: tl.tensor,
    images: tl.tensor,
    silu: tl.constexpr,
    block_rows: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Scale and shift one tile of one image, and activate it."""
    per_image = tl.cdiv(num_rows, block_rows)
    image = tl.program_id(0) // per_image
    row = (tl.program_id(0) % per_image) * block_rows + tl.arange(0, block_rows)
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    is_channel = channel < channels
    mask = (row < num_rows)[:, None] & is_channel[None, :]
    place = (image.to(tl.int64) * num_rows + row)[:, None] * channels + channel[None, :]
    tile = tl.load(rows + place, mask=mask, other=0.0).to(tl.float32)
    scale = tl.load(affine + image * channels + channel, mask=is_channel, other=0.0)
    shift = tl.load(affine + (images + image) * channels + channel, mask=is_channel, other=0.0)
    tile = tile * scale[None, :] + shift[None, :]
    if silu:
        tile = tile * tl.sigmoid(tile)
    tl.store(normed + place, tile.to(normed.dtype.element_ty), mask=mask)
