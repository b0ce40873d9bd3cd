"""Texts that change over a clip: each frame has a sum of two encoded texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from animdiff_cli.core.choices import PromptInterpolation
from animdiff_cli.core.curves import Blend

_NEARLY_PARALLEL = 1e-4  # sine of the angle below which slerp divides by almost nothing


@dataclass(frozen=True, slots=True)
class Mix:
    """How N images mix texts: the indices of two texts, [2, N], and the factor of each by token, [2, N, L]."""

    pair: Tensor
    shares: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Mix `values` of all texts, [T, ..., L, D]: anything that is linear in the text, such as its keys.

        Returns [N, ..., L, D].
        """
        between = (1,) * (values.dim() - 3)
        first, second = (
            share.to(values.dtype).view(len(share), *between, -1, 1) * values[index]
            for index, share in zip(self.pair, self.shares, strict=True)
        )
        mixed: Tensor = first + second
        return mixed


@dataclass(frozen=True, slots=True)
class FrameTexts:
    """The texts of a clip, [T, L, D], and how each frame of each row of guidance mixes two of them."""

    texts: Tensor
    pair: Tensor  # [2, rows, F] indices of texts
    shares: Tensor  # [2, rows, F, L]

    def mix(self, frames: Sequence[int], rows: int | None = None) -> Mix:
        """Return the mix of these frames, one row of guidance after the other: the last `rows` of them, or all."""
        chosen = torch.as_tensor(list(frames), device=self.pair.device)
        first = -rows if rows else None
        pair, shares = self.pair[:, first:], self.shares[:, first:]
        return Mix(pair[:, :, chosen].flatten(1), shares[:, :, chosen].flatten(1, 2))

    def at(self, frames: Sequence[int], rows: int | None = None) -> Tensor:
        """Return the text of each of these frames in the last `rows` rows, by default all: [rows*f, L, D]."""
        return self.mix(frames, rows).of(self.texts)


def frame_texts(
    texts: Tensor, rows: Sequence[Sequence[Blend[int]]], interpolation: PromptInterpolation = "linear"
) -> FrameTexts:
    """Resolve how frames mix `texts` [T, L, D]. `rows` holds, for each row of guidance, the blend of every frame.

    `slerp` turns each token's embedding on the arc between both (Shoemake 1985).
    """
    angles: dict[tuple[int, int], Tensor] = {}
    precise = texts.to(torch.promote_types(texts.dtype, torch.float32))
    shares = precise.new_empty(2, len(rows), len(rows[0]), texts.shape[1])
    for row, blends in enumerate(rows):
        for frame, blend in enumerate(blends):
            shares[0, row, frame], shares[1, row, frame] = 1 - blend.fraction, blend.fraction
            pair = (blend.before, blend.after)
            if interpolation == "slerp" and blend.fraction > 0 and pair[0] != pair[1]:
                if pair not in angles:
                    cosine = F.cosine_similarity(precise[pair[0]], precise[pair[1]], dim=-1)
                    angles[pair] = cosine.clamp(-1, 1).acos()
                shares[:, row, frame] = _arc(angles[pair], blend.fraction)
    pairs = [[[blend.before for blend in row] for row in rows], [[blend.after for blend in row] for row in rows]]
    return FrameTexts(texts, torch.tensor(pairs, device=texts.device), shares)


def held(fraction: float, hold: float) -> float:
    """Return how far the next text has come if the one before is held for a share `hold` of the way.

    >>> [held(fraction, 0.5) for fraction in (0.25, 0.5, 0.75)]
    [0.0, 0.0, 0.5]
    """
    return max(0.0, (fraction - hold) / (1 - hold)) if hold < 1 else 0.0


def _arc(angle: Tensor, fraction: float) -> Tensor:
    """Return the factors of both texts by token, [2, L], for the angles between them, [L]."""
    sine = angle.sin()
    arc = torch.stack([((1 - fraction) * angle).sin(), (fraction * angle).sin()]) / sine
    line = torch.tensor([[1 - fraction], [fraction]], dtype=angle.dtype, device=angle.device)
    return torch.where(sine > _NEARLY_PARALLEL, arc, line)
