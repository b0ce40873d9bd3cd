"""The protocol of a condition: prepare once per clip, begin, contribute to each UNet call, amend after each step."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from animdiff_cli.core.where import Timeline
from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class ClipContext:
    """The clip that conditions are prepared for."""

    timeline: Timeline  # new and known frames, frames per second, steps, calls of the predictor, loop
    rows: int  # most rows of a call: 2 with classifier-free guidance
    noise: Tensor  # of the first pass: float32 of unit variance, [1, 4, F, h, w], on the CPU; F counts known frames too
    device: torch.device  # of the latents: that of the UNet, or the CPU if windows are around the UNet
    text: "Sequence[Condition]" = ()  # the prompt, for conditions that prepare it for a network of their own
    text_of: "dict[Any, Sequence[Condition]]" = field(default_factory=dict)  # network → the prompt prepared for it


@dataclass(frozen=True, slots=True)
class UNetCall:
    """One call of the UNet: which frames of the clip it denoises, at which step.

    The batch is [rows*F, 4, h, w] with the frames of a row contiguous. `rows` is 2 where classifier-free guidance is
    on, the unconditional row first, and 1 where it is off: then only the row with text runs.
    """

    latents: Tensor  # [1, 4, F, h, w], scaled as the scheduler wants its model input
    frames: Sequence[int]  # F indices in the clip
    timestep: Tensor
    step: int  # from 0
    rows: int
    windows: Sequence[WeightedWindow] = ()  # of the temporal transformers, if they are inside this call
    is_deep: bool = True  # the whole UNet runs; if not, only its outermost layers (`diffusion.deep_cache`)

    def only(self, places: Sequence[int]) -> "UNetCall":
        """Return the call for some of its frames, by their places in it."""
        if list(places) == list(range(len(self.frames))):
            return self
        frames = [self.frames[place] for place in places]
        return replace(self, latents=self.latents[:, :, list(places)], frames=frames, windows=())

    def batch(self) -> Tensor:
        """Return the images of the call without extra channels, [rows*F, 4, h, w]."""
        images = self.latents[0].transpose(0, 1)
        return images if self.rows == 1 else torch.cat([images] * self.rows)


class Predict(Protocol):
    """Predict what the UNet was trained to, for latents [1, 4, F, h, w] that are scaled as its input."""

    def __call__(self, latents: Tensor, timestep: Tensor, step: int, /) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ClipStart:
    """What the sampler is about to run: for `Condition.begin`, which may begin elsewhere than in noise."""

    timesteps: Tensor  # of the calls that come
    scheduler: Any
    predict: Predict  # without guidance


@dataclass(frozen=True, slots=True)
class StepEnd:
    """A step of the sampler that is done: what `Condition.amend` may need, such as `scheduler.add_noise`."""

    step: int  # from 0
    timestep: Tensor
    next_timestep: Tensor | None  # None after the last step
    scheduler: Any


class Condition:
    """Base class of conditions. Override the moments that a condition needs."""

    #: both rows of guidance are equal up to the first cross-attention, so layers before it may be computed once
    keeps_rows_equal: ClassVar[bool] = False

    def prepare(self, unet: UNet, clip: ClipContext) -> AbstractContextManager["Condition"]:
        """Enter the clip: load, encode or install what the whole clip needs. Undo it at the end of the context.

        Returns a context whose value is the condition to use inside it.
        """
        return nullcontext(self)

    def begin(self, latents: Tensor, start: ClipStart) -> Tensor:
        """Return the clip's latents [1, 4, F, h, w] before the first step, changed or not."""
        return latents

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Return keyword arguments for this UNet call, sliced to `call.frames`.

        Residuals of several conditions are added, mappings united. `extra_channels` [rows*F, C, h, w] are appended to
        the channels of the latents.
        """
        return {}

    def amend(self, latents: Tensor, end: StepEnd) -> Tensor:
        """Return the clip's latents [1, 4, F, h, w] after a step, changed or not."""
        return latents

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return what this condition changes in a call beside its arguments: `()` if nothing.

        Calls with equal keys can replay one CUDA graph. None: this call cannot, as it reads tensors from elsewhere.
        """
        return None


@contextmanager
def prepared(conditions: Sequence[Condition], unet: UNet, clip: ClipContext) -> Iterator[list[Condition]]:
    """Prepare all conditions for one clip, the last one first; undo it at the end.

    The prompt, which comes first, is prepared last: it sees the attention processors that others installed.
    """
    with ExitStack() as stack:
        ready = [stack.enter_context(condition.prepare(unet, clip)) for condition in reversed(conditions)]
        yield ready[::-1]


@contextmanager
def prepared_text(network: Any, clip: ClipContext) -> Iterator[Sequence[Condition]]:
    """Prepare the prompt of a clip for a network: once, also if several conditions have the same one."""
    if network in clip.text_of:
        yield clip.text_of[network]
        return
    with prepared(clip.text, network, clip) as text:
        clip.text_of[network] = text
        try:
            yield text
        finally:
            del clip.text_of[network]


def contributions(conditions: Sequence[Condition], call: UNetCall) -> dict[str, Any]:
    """Unite what the conditions contribute to one call."""
    unet_kwargs: dict[str, Any] = {}
    for condition in conditions:
        for name, value in condition.contribute(call).items():
            unet_kwargs[name] = _united(name, unet_kwargs[name], value) if name in unet_kwargs else value
    return unet_kwargs


def recording_key(conditions: Sequence[Condition], call: UNetCall) -> Hashable | None:
    """Unite the keys of all conditions; None if one has none, or if context windows are inside the call."""
    keys = [condition.recording_key(call) for condition in conditions]
    return None if call.windows or None in keys else (call.rows, len(call.frames), *keys)


def _united(name: str, first: Any, second: Any) -> Any:
    """Unite two contributions to one argument. Raises `RuntimeError` where that has no meaning."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        both = first.keys() & second.keys()
        return {**first, **second, **{key: _united(key, first[key], second[key]) for key in both}}
    if name.endswith("_residual"):
        return first + second
    if name.endswith("_residuals") and len(first) == len(second):
        return [one + other for one, other in zip(first, second, strict=True)]
    if name == "extra_channels":
        return torch.cat([first, second], dim=1)
    raise RuntimeError(f"two conditions contribute `{name}` to one UNet call")
