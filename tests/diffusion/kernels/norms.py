"""What every faster group norm is compared with, and the cases that all of them must compute."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Check = Callable[..., object]  # compares a norm of `hidden` [N, C, ...] in groups with `exactly`


def exactly(hidden, groups, weight, bias, added=None, silu=False, num_frames=1) -> Tensor:
    """Compute in float64 with torch, frames stacked."""
    hidden, weight, bias = hidden.double(), weight.double(), bias.double()
    if added is not None:
        hidden = hidden + added.double().view(*added.shape, *[1] * (hidden.dim() - 2))
    stacked = hidden.unflatten(0, (-1, num_frames)).transpose(1, 2)
    normed = F.group_norm(stacked, groups, weight, bias, 1e-5).transpose(1, 2).flatten(0, 1)
    return F.silu(normed) if silu else normed


def across_the_frames_of_clips(check: Check) -> None:
    hidden, added = torch.randn(6, 8, 9, 8) + torch.arange(6)[:, None, None, None], torch.randn(6, 8)
    check(hidden, 2, added=added, silu=True, num_frames=3)


def far_from_zero(check: Check) -> None:
    """The mean square less the squared mean would be wrong by a hundredth."""
    check(torch.randn(1, 6, 20, 20) / 4 + 100, 2, tolerance=1e-4)


def of_views(check: Check) -> None:
    image = torch.randn(2, 5, 12, 6)
    check(image[:, :, ::2].transpose(1, 2), 3)
    check(image[1:].permute(0, 2, 1, 3), 4)
    check(image, 5, added=torch.randn(5, 2).T)


CASES = (across_the_frames_of_clips, far_from_zero, of_views)
