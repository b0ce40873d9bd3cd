"""Context windows inside the UNet: spatial layers see all frames of a clip, temporal ones a window at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from animdiff_cli.core.windows import WeightedWindow


@dataclass(frozen=True, slots=True)
class WindowTensors:
    """One window on a device: indices of its frames, int64 [L], and their shares, float32 [L]."""

    frames: Tensor
    shares: Tensor


def to_tensors(windows: Sequence[WeightedWindow], device: torch.device) -> tuple[WindowTensors, ...]:
    """Put windows on a device."""
    return tuple(
        WindowTensors(
            torch.tensor(window.frames, device=device),
            torch.tensor(window.shares, dtype=torch.float32, device=device),
        )
        for window in windows
    )


def fuse(clips: Tensor, windows: Sequence[WindowTensors], compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `compute` to the frames of each window, and average the results by their shares.

    `clips` is [B, F, ...]; `compute` maps [B, L, ...] to another [B, L, ...]. Averages in float32 at least.
    """
    total: Tensor | None = None
    for window in windows:
        result = compute(clips.index_select(1, window.frames))
        weighted = result * window.shares.view(-1, *[1] * (result.dim() - 2))
        if total is None:
            total = weighted.new_zeros(*clips.shape[:2], *result.shape[2:])
        total.index_add_(1, window.frames, weighted)
    assert total is not None
    return total.to(clips.dtype)


def windowed_group_norm(
    norm: nn.GroupNorm, hidden: Tensor, num_frames: int, windows: Sequence[WindowTensors]
) -> Tensor:
    """Normalize [B*F, D, H, W] by the statistics of each window, and average the results.

    The same as running `norm` across the frames of one window after the other, for the price of once: in each frame the
    average is a scale and a shift. `norm` must have weights.
    """
    shape = (norm.num_groups, hidden.shape[1] // norm.num_groups, *hidden.shape[2:])
    precision = torch.promote_types(hidden.dtype, torch.float32)
    # in chunks, because a copy of all frames in float32 would be the largest tensor of the UNet
    found = [torch.var_mean(part.to(precision).reshape(-1, *shape), (2, 3, 4), correction=0) for part in _split(hidden)]
    variance, mean = (torch.cat(parts).reshape(-1, num_frames, norm.num_groups) for parts in zip(*found, strict=True))

    def affine(moments: Tensor) -> Tensor:
        """Map mean and mean square of L frames, [B, L, G, 2], to the scale and shift of a norm over all of them."""
        middle, square = moments.mean(1, keepdim=True).expand_as(moments).unbind(-1)
        scale = (square - middle.square() + norm.eps).rsqrt()
        return torch.stack([scale, -middle * scale], dim=-1)

    fused = fuse(torch.stack([mean, variance + mean.square()], dim=-1), windows, affine).flatten(0, 1)
    scale, shift = (
        (part.repeat_interleave(shape[1], dim=1) * norm.weight)[:, :, None, None] for part in fused.unbind(-1)
    )
    parts = zip(*map(_split, (hidden, scale, shift + norm.bias[:, None, None])), strict=True)
    return torch.cat([torch.addcmul(add, part.to(precision), by).to(hidden.dtype) for part, by, add in parts])


def _split(images: Tensor) -> tuple[Tensor, ...]:
    return torch.split(images, 16)
