"""The motion module: temporal transformers that let every pixel attend along the frames of its clip.

Paper: AnimateDiff (ICLR 2024), section 4.2 and figure 3. The module tree carries the official key names, so
`MotionModule.state_dict()` is the official layout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animdiff_cli.core.choices import MotionVersion
from animdiff_cli.motion.attention import temporal_attention
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.weights.positional_encoding import sinusoid

NORM_GROUPS = 32
NORM_EPS = 1e-6  # the UNet's own norms use 1e-5


class PositionalEncoding(nn.Module):
    """Sinusoid over the frame index, interleaved sin and cos, base 10000. Buffer `pe`: [1, max_frames, D]."""

    pe: Tensor

    def __init__(self, width: int, max_frames: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid(max_frames, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the code of frame f to every token of frame f. `tokens`: [B, F, P, D]."""
        return tokens + self.pe[0, : tokens.shape[1], None]


class TemporalAttention(nn.Module):
    """Self-attention along frames, each spatial position on its own."""

    def __init__(self, width: int, num_heads: int, max_frames: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.pos_encoder = PositionalEncoding(width, max_frames)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens`: [B, F, P, D], P spatial positions."""
        tokens = self.pos_encoder(tokens)
        attended = temporal_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), self.num_heads)
        return self.to_out[0](attended)


class GEGLU(nn.Module):
    """GEGLU: the first half of the projection, gated by the GELU of the second."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # the middle entry is where the official code keeps a dropout of zero: it holds the key numbering
        self.net = nn.ModuleList([GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.net:
            tokens = layer(tokens)
        return tokens


class TemporalBlock(nn.Module):
    """Pre-norm transformer block: temporal self-attentions, then a feed-forward."""

    def __init__(self, width: int, spec: MotionSpec) -> None:
        super().__init__()
        attentions = (TemporalAttention(width, spec.num_heads, spec.max_frames) for _ in range(spec.num_attentions))
        self.attention_blocks = nn.ModuleList(attentions)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(spec.num_attentions))
        self.ff = FeedForward(width)
        self.ff_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens`: [B, F, P, D]."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            tokens = attention(norm(tokens)) + tokens
        return self.ff(self.ff_norm(tokens)) + tokens


class TemporalTransformer(nn.Module):
    """One plug point's worth of motion. Zero-initialised at its end: untrained, it changes nothing."""

    def __init__(self, width: int, spec: MotionSpec) -> None:
        super().__init__()
        self.norm_across_frames = spec.traits.norm_across_frames
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=NORM_EPS)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(width, spec)])
        self.proj_out = nn.Linear(width, width)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, hidden: Tensor, num_frames: int) -> Tensor:
        """Mix information along the frames of each clip.

        `hidden`: [B*F, D, H, W], the frames of a clip contiguous. On channels-last activations every change of
        shape here is a view.
        """
        height, width = hidden.shape[2:]
        normed = across_frames(self.norm, hidden, num_frames) if self.norm_across_frames else self.norm(hidden)
        tokens = normed.permute(0, 2, 3, 1).reshape(-1, num_frames, height * width, hidden.shape[1])
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        moved = self.proj_out(tokens).reshape(-1, height, width, hidden.shape[1]).permute(0, 3, 1, 2)
        return hidden + moved


class _Slot(nn.Module):
    """The official name of a plug point ends in `.temporal_transformer`."""

    def __init__(self, width: int, spec: MotionSpec) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(width, spec)


class _Block(nn.Module):
    def __init__(self, widths: tuple[int, ...], spec: MotionSpec) -> None:
        super().__init__()
        self.motion_modules = nn.ModuleList(_Slot(width, spec) for width in widths)


class MotionModule(nn.Module):
    """All temporal transformers of one motion module, to be attached with `plug`."""

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.down_blocks = nn.ModuleList(_Block(widths, spec) for widths in spec.down)
        if spec.mid:
            self.mid_block = _Block(spec.mid, spec)
        self.up_blocks = nn.ModuleList(_Block(widths, spec) for widths in spec.up)
        self._num_frames: int | None = None

    @classmethod
    def from_unet(cls, unet: Any, version: MotionVersion = "v3") -> "MotionModule":
        """Build an untrained module that fits `unet`; plugged in, it is an exact identity."""
        return cls(MotionSpec.for_unet(unet.config, version))

    @contextmanager
    def frames(self, num_frames: int) -> Iterator["MotionModule"]:
        """Say how many consecutive batch entries form one clip while the UNet runs.

        Raises `UsageError` if the module has no positions for so many frames.
        """
        self.check_frames(num_frames)
        before, self._num_frames = self._num_frames, num_frames
        try:
            yield self
        finally:
            self._num_frames = before

    def check_frames(self, num_frames: int) -> None:
        """Raise `UsageError` unless 1 ≤ `num_frames` ≤ the rows of the position code."""
        self.spec.check_frames(num_frames)

    @property
    def num_frames(self) -> int:
        """Frames per clip, as said by the surrounding `frames`. Raises `RuntimeError` outside of it."""
        if self._num_frames is None:
            raise RuntimeError("a plugged UNet runs inside `with motion.frames(n):` only")
        return self._num_frames

    def transformer(self, name: str) -> TemporalTransformer:
        """Return the temporal transformer of a plug point, such as `up_blocks.1.motion_modules.2`."""
        slot = self.get_submodule(name)
        assert isinstance(slot, _Slot)
        return slot.temporal_transformer


def across_frames(norm: nn.GroupNorm, hidden: Tensor, num_frames: int) -> Tensor:
    """Normalise `hidden` [B*F, D, H, W] with statistics taken over all frames of a clip."""
    stacked = fold_clip(hidden, num_frames)
    if torch.is_grad_enabled() and not stacked.requires_grad:
        # torch's channels-last kernel on CPUs crashes where the norm takes gradients and what it normalises takes none
        stacked = stacked.contiguous()
    return unfold_clip(norm(stacked), num_frames)


def fold_clip(hidden: Tensor, num_frames: int) -> Tensor:
    """Stack the frames of a clip along height: [B*F, D, H, W] to [B, D, F*H, W]; a view if channels-last."""
    channels, height, width = hidden.shape[1:]
    stacked = hidden.permute(0, 2, 3, 1).reshape(-1, num_frames * height, width, channels)
    return stacked.permute(0, 3, 1, 2)


def unfold_clip(stacked: Tensor, num_frames: int) -> Tensor:
    """Undo `fold_clip`."""
    channels, tall, width = stacked.shape[1:]
    frames = stacked.permute(0, 2, 3, 1).reshape(-1, tall // num_frames, width, channels)
    return frames.permute(0, 3, 1, 2)
