"""The motion module: temporal transformers, in which every pixel attends along the frames of its clip.

Paper: AnimateDiff (ICLR 2024), section 4.2 and figure 3. Submodules have the official key names, so
`MotionModule.state_dict()` is the official layout.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animdiff_cli.core.choices import MotionVersion
from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.motion.attention import temporal_attention
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.motion.unet import UNet
from animdiff_cli.motion.windows import WindowTensors, fuse, to_tensors
from animdiff_cli.weights.positional_encoding import sinusoid

NORM_GROUPS = 32
NORM_EPS = 1e-6  # the UNet's own norms use 1e-5


class PositionalEncoding(nn.Module):
    """Sinusoid over the frame index, interleaved sin and cos, base 10000. Buffer `pe`: [1, max_frames, D].

    The sinusoid is computed in float32 again after every cast, so that a module that was in half precision once has
    exact encodings in float32.
    """

    pe: Tensor

    def __init__(self, width: int, max_frames: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid(max_frames, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the encoding of frame f to every token of frame f. `tokens`: [B, F, P, D]."""
        return tokens + self.pe[0, : tokens.shape[1], None]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = self.pe.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch
        if self.pe.dtype != before and not self.pe.is_meta:
            _, max_frames, width = self.pe.shape
            self.pe = sinusoid(max_frames, width).to(self.pe)
        return self


class TemporalAttention(nn.Module):
    """Self-attention along frames, separately at each spatial position."""

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
        output: Tensor = self.to_out[0](attended)
        return output


class GEGLU(nn.Module):
    """Project to twice the hidden width; the GELU of the second half gates the first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        value, gate = torch.chunk(self.proj(tokens), 2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU and a projection back to `width`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # the identity stands for the official code's dropout of zero, so that keys are numbered alike
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
        output: Tensor = self.ff(self.ff_norm(tokens)) + tokens
        return output


class TemporalTransformer(nn.Module):
    """The motion of one plug point. `proj_out` is initialized with zeros: an untrained module is the identity."""

    def __init__(self, width: int, spec: MotionSpec) -> None:
        super().__init__()
        self.norm_across_frames = spec.traits.norm_across_frames
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=NORM_EPS)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(width, spec)])
        self.proj_out = nn.Linear(width, width)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(
        self,
        hidden: Tensor,
        num_frames: int,
        scale: float | Tensor = 1.0,
        windows: Sequence[WindowTensors] = (),
    ) -> Tensor:
        """Mix information along the frames of each clip, or of each of its windows.

        `hidden`: [B*F, D, H, W], the frames of a clip contiguous. Reshapes are views on channels-last activations.
        `scale` of the motion that is added: one number, or a tensor [F].
        """
        if isinstance(scale, float) and scale == 0:
            return hidden
        if windows:
            images = hidden.permute(0, 2, 3, 1)
            tokens = fuse(images.view(-1, num_frames, *images.shape[1:]), windows, self._mix_window)
        else:
            tokens = self._mix(hidden, num_frames)
        motion: Tensor = self.proj_out(tokens).reshape(-1, *hidden.shape[2:], hidden.shape[1]).permute(0, 3, 1, 2)
        if isinstance(scale, Tensor):
            scale = scale.to(motion).repeat(len(motion) // num_frames)[:, None, None, None]
        elif scale == 1:
            return hidden + motion
        return hidden + scale * motion

    def _mix(self, hidden: Tensor, num_frames: int) -> Tensor:
        """Return the tokens of frames after they attended to each other, [B, F, P, D]."""
        height, width = hidden.shape[2:]
        if self.norm_across_frames:
            stacked = norm_input(self.norm, fold_clip(hidden, num_frames))
            normed = unfold_clip(self.norm(stacked), num_frames)
        else:
            normed = self.norm(norm_input(self.norm, hidden))
        tokens: Tensor = normed.permute(0, 2, 3, 1).reshape(-1, num_frames, height * width, hidden.shape[1])
        del normed  # the blocks below are where memory peaks
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        return tokens

    def _mix_window(self, frames: Tensor) -> Tensor:
        """`_mix` of frames [B, L, H, W, D]."""
        return self._mix(frames.flatten(0, 1).permute(0, 3, 1, 2), frames.shape[1])


class _Slot(nn.Module):
    """Holds the transformer under its official name, which ends in `.temporal_transformer`."""

    def __init__(self, width: int, spec: MotionSpec) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(width, spec)


class _Block(nn.Module):
    def __init__(self, widths: tuple[int, ...], spec: MotionSpec) -> None:
        super().__init__()
        self.motion_modules = nn.ModuleList(_Slot(width, spec) for width in widths)


@dataclass(slots=True)
class PlugState:
    """How plugged UNets run now. A motion module and the copies that `plug` makes of it share one."""

    num_frames: int | None = None
    windows: tuple[WindowTensors, ...] = ()
    enabled: bool = True
    weights: tuple[float | Tensor, ...] = ()  # of several motion modules (`motion.mix`), each as `scale`
    scale: float | Tensor = 1.0  # of what temporal transformers add: one number, or a tensor [F]
    thread: dict[str, int] = field(default_factory=dict)  # "ident" of the thread that is inside `frames`


class MotionModule(nn.Module):
    """All temporal transformers of one motion module, to be attached with `plug`."""

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.down_blocks = nn.ModuleList(_Block(widths, spec) for widths in spec.down)
        if spec.mid:
            self.mid_block = _Block(spec.mid, spec)
        self.up_blocks = nn.ModuleList(_Block(widths, spec) for widths in spec.up)
        self.state = PlugState()

    @classmethod
    def from_unet(cls, unet: UNet, version: MotionVersion = "v3") -> "MotionModule":
        """Build an untrained module that fits `unet`; plugged in, it is an exact identity."""
        return cls(MotionSpec.for_unet(unet.config, version))

    @contextmanager
    def frames(self, num_frames: int, windows: Sequence[WeightedWindow] = ()) -> Iterator["MotionModule"]:
        """Set the number of frames per clip for UNet calls inside this context.

        With `windows`, the frames of each window attend to each other, and results are averaged by shares. Raises
        `UsageError` if the module supports fewer frames, `RuntimeError` if another thread is inside `frames`: give each
        thread a copy of the UNet.
        """
        self.check_frames(len(windows[0].frames) if windows else num_frames)
        before = self.state.num_frames, self.state.windows
        if self.state.thread.setdefault("ident", get_ident()) != get_ident():
            raise RuntimeError("another thread uses this motion module: give each thread `copy.deepcopy(unet)`")
        self.state.num_frames = num_frames
        self.state.windows = to_tensors(windows, next(self.parameters()).device)
        try:
            yield self
        finally:
            self.state.num_frames, self.state.windows = before
            if self.state.num_frames is None:
                self.state.thread.clear()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Run the plugged UNet as the plain image model inside this context."""
        before, self.state.enabled = self.state.enabled, False
        try:
            yield
        finally:
            self.state.enabled = before

    def check_frames(self, num_frames: int) -> None:
        """Raise `UsageError` unless 1 ≤ `num_frames` ≤ `spec.max_frames`."""
        self.spec.check_frames(num_frames)

    @property
    def num_frames(self) -> int:
        """Frames per clip, as set by the surrounding `frames`. Raises `RuntimeError` outside of it."""
        if self.state.num_frames is None:
            raise RuntimeError("run a plugged UNet inside `with motion.frames(n):`")
        return self.state.num_frames

    def transformer(self, name: str) -> TemporalTransformer:
        """Return the temporal transformer of a plug point, such as `up_blocks.1.motion_modules.2`."""
        slot = self.get_submodule(name)
        assert isinstance(slot, _Slot)
        return slot.temporal_transformer


def norm_input(norm: nn.Module, hidden: Tensor) -> Tensor:
    """Return `hidden`, contiguous where torch's channels-last group norm would crash.

    Its backward pass on CPUs crashes (torch 2.13) if the norm takes gradients and its input takes none.
    """
    trains_norm = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in norm.parameters())
    if trains_norm and not hidden.requires_grad and hidden.device.type == "cpu":
        return hidden.contiguous()
    return hidden


def fold_clip(hidden: Tensor, num_frames: int) -> Tensor:
    """Stack the frames of a clip along height for a norm over all of them: [B*F, D, H, W] to [B, D, F*H, W].

    A view on channels-last activations.
    """
    channels, height, width = hidden.shape[1:]
    stacked = hidden.permute(0, 2, 3, 1).reshape(-1, num_frames * height, width, channels)
    return stacked.permute(0, 3, 1, 2)


def unfold_clip(stacked: Tensor, num_frames: int) -> Tensor:
    """Undo `fold_clip`: [B, D, F*H, W] to [B*F, D, H, W]."""
    channels, tall, width = stacked.shape[1:]
    frames = stacked.permute(0, 2, 3, 1).reshape(-1, tall // num_frames, width, channels)
    return frames.permute(0, 3, 1, 2)
