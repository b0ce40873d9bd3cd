"""Context windows: which frames the motion module sees together, and the weights that fuse their predictions.

A motion module was trained on short clips. A longer clip is denoised in windows that overlap; where they do, the
predictions are averaged with weights. Schedules and weights are those of ComfyUI-AnimateDiff-Evolved, and named alike.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

from animdiff_cli.core.choices import ContextFuse, ContextSchedule
from animdiff_cli.errors import UsageError

Window = tuple[int, ...]  # indices of frames, in the order the motion module sees them

DEFAULT_SCHEDULE: ContextSchedule = "static"
DEFAULT_FUSE: ContextFuse = "pyramid"
DEFAULT_OVERLAP = 1 / 4  # of a window
#: standard deviation of `gauss-sigma` in windows, at the first step and at the last: flat while the noise decides where
#: things are, narrow while it decides details, which an average would blur
GAUSS_WIDTHS = (1 / 2, 1 / 8)


@dataclass(frozen=True, slots=True)
class WeightedWindow:
    """Frames of one window and the share of each in the fused prediction, from 0 to 1."""

    frames: Window
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """How a clip is divided. `plan_windows` checks the values."""

    num_frames: int
    length: int  # at most `num_frames`
    overlap: int  # less than `length`
    stride: int = 1  # of `uniform` and `looped`: windows of every 2nd, 4th … frame, up to 2**(stride - 1)
    schedule: ContextSchedule = DEFAULT_SCHEDULE
    fuse: ContextFuse = DEFAULT_FUSE

    def at(self, step: int, num_steps: int) -> tuple[WeightedWindow, ...]:
        """Return the windows of one step, counted from 0. Every frame is in one of them; its shares sum to 1."""
        progress = min(step / max(num_steps - 1, 1), 1.0)
        is_static = self.schedule in ("static", "batched")
        return _weighted(self, 0 if is_static else step, progress if self.fuse == "gauss-sigma" else 0.0)

    def __str__(self) -> str:
        """Describe the windows: `windows of 16 frames, overlap 4, schedule static, fuse pyramid`."""
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        overlap = f"windows of {self.length} frames, overlap {self.overlap}{stride}"
        return f"{overlap}, schedule {self.schedule}, fuse {self.fuse}"


def plan_windows(
    num_frames: int,
    *,
    max_frames: int,
    usual_length: int,
    length: int | None = None,
    overlap: int | None = None,
    stride: int | None = None,
    schedule: ContextSchedule | None = None,
    fuse: ContextFuse | None = None,
    loop: bool = False,
) -> Windows | None:
    """Return the windows of a clip, or None for one window that is the whole clip.

    Without `length`, a clip of up to `max_frames`, the positions of the motion module, is one window; a longer one has
    windows of `usual_length`. With `loop`, windows wrap from the last frame to the first, also in a short clip. Raises
    `UsageError` for values that contradict each other.
    """
    schedule = schedule or _usual_schedule(loop=loop)
    fuse = fuse or DEFAULT_FUSE
    if length is not None and length > max_frames:
        raise too_long(length, max_frames, "this motion module")
    check_schedule(schedule, fuse, overlap=overlap, stride=stride, loop=loop)
    window = min(length or usual_length, num_frames)
    longest = window if loop else length or usual_length
    if overlap is not None and overlap >= longest:
        raise UsageError(
            f"an overlap of {overlap} frames leaves no new frame in a window of {longest}",
            hint=f"use `--context-overlap {int(longest * DEFAULT_OVERLAP)}`, or less than {longest}",
        )
    if num_frames == 1 or (not loop and num_frames <= (length or max_frames)):
        return None
    if schedule == "batched":
        overlap = 0
    return Windows(
        num_frames,
        window,
        int(window * DEFAULT_OVERLAP) if overlap is None else overlap,
        stride or 1,
        schedule,
        fuse,
    )


def too_long(length: int, max_frames: int, module: str) -> UsageError:
    """Return the error for a window that is longer than `module` allows."""
    return UsageError(
        f"a window of {length} frames is longer than the {max_frames} positions of {module}",
        hint=f"use at most `--context-length {max_frames}`",
    )


def check_schedule(
    schedule: ContextSchedule | None,
    fuse: ContextFuse | None,
    *,
    overlap: int | None,
    stride: int | None,
    loop: bool,
) -> None:
    """Raise `UsageError` for settings that the schedule contradicts or does not use, under any motion module."""
    schedule = schedule or _usual_schedule(loop=loop)
    if loop and schedule != "looped":
        raise UsageError(
            f"`--loop` needs windows that wrap, and those of `--context-schedule {schedule}` do not",
            hint="`--loop` uses `looped`: leave `--context-schedule` out, or use `--context-schedule looped`",
        )
    if overlap and schedule == "batched":
        raise UsageError(
            "windows of `--context-schedule batched` do not overlap",
            hint="leave `--context-overlap` out, or use `--context-schedule static`",
        )
    if stride and stride > 1 and schedule in ("static", "batched"):
        raise UsageError(
            f"windows of `--context-schedule {schedule}` have no stride",
            hint="leave `--context-stride` out, or use `--context-schedule uniform`",
        )
    if fuse == "relative" and schedule != "static":
        raise UsageError(
            f"`--context-fuse relative` is defined for static windows, not for {schedule} ones",
            hint=f"use `--context-fuse {DEFAULT_FUSE}`",
        )


def _usual_schedule(*, loop: bool) -> ContextSchedule:
    return "looped" if loop else DEFAULT_SCHEDULE


def ordered_halving(step: int) -> float:
    """Return 0, 1/2, 1/4, 3/4, 1/8 … for step 0, 1, 2, 3, 4 …: the bits of the step in reverse, as a fraction."""
    return int(f"{step:064b}"[::-1], 2) / 2**64


def static_windows(num_frames: int, length: int, overlap: int) -> list[Window]:
    """Return 1 + ceil((N - L) / (L - O)) windows, the same at every step. The last is moved back to the clip's end."""
    starts = range(0, num_frames - overlap, length - overlap)
    return [tuple(range(start, start + length)) for start in (min(start, num_frames - length) for start in starts)]


def looped_windows(num_frames: int, length: int, overlap: int, stride: int, step: int, *, closed: bool) -> list[Window]:
    """Return windows that start elsewhere at every step and wrap at the end of the clip.

    `closed`: one more window overlaps the first, so that the end leads into the beginning. A stride at which a window
    would go round the clip more than once is left out; ComfyUI-AnimateDiff-Evolved shows a frame twice there.
    """
    offset = ordered_halving(step)
    pad = round(num_frames * offset)
    end = num_frames + pad - (0 if closed else overlap)
    return [
        tuple((start + place * gap) % num_frames for place in range(length))
        for gap in (2**power for power in range(stride))
        if gap == 1 or gap * length <= num_frames
        for start in range(int(offset * gap) + pad, end, length * gap - overlap)
    ]


def uniform_windows(num_frames: int, length: int, overlap: int, stride: int, step: int) -> list[Window]:
    """Return the windows of `looped_windows` with those that wrap moved to the end of the clip.

    Where no other window holds the frames that one has left at the beginning, another is inserted there.
    """
    looped = looped_windows(num_frames, length, overlap, stride, step, closed=False)
    windows: list[Window] = []
    for place, window in enumerate(looped):
        wrapped = next((later for earlier, later in pairwise(window) if later < earlier), None)
        if wrapped is None:
            windows.append(window)
            continue
        gap = (window[1] - window[0]) % num_frames
        looped[place] = tuple(range(num_frames - 1 - gap * (length - 1), num_frames, gap))
        windows.append(looped[place])
        if wrapped not in looped[(place + 1) % len(looped)]:
            windows.append(tuple(range(wrapped, wrapped + length)))
    return list(dict.fromkeys(windows))


_WeightsOf = Callable[[Windows, Window, float], list[float]]


def _flat(plan: Windows, window: Window, progress: float) -> list[float]:
    return [1.0] * len(window)


def _pyramid(plan: Windows, window: Window, progress: float) -> list[float]:
    """Return 1, 2 … L/2, L/2 … 2, 1."""
    return [float(min(place + 1, plan.length - place)) for place in range(plan.length)]


def _relative(plan: Windows, window: Window, progress: float) -> list[float]:
    """Return 1 in the middle, falling to 0.01 at both ends."""
    middle, half = (window[0] + window[-1]) / 2, (window[-1] - window[0] + 0.01) / 2
    return [max(0.01, 1 - abs(frame - middle) / half) for frame in window]


def _overlap_linear(plan: Windows, window: Window, progress: float) -> list[float]:
    """Return 1 with a ramp over the overlap at either end, except at the ends of a clip that does not loop."""
    width = plan.overlap + 1
    rises = plan.schedule == "looped" or min(window) > 0
    falls = plan.schedule == "looped" or max(window) < plan.num_frames - 1
    return [
        min(1.0, (place + 1) / width if rises else 1.0, (plan.length - place) / width if falls else 1.0)
        for place in range(plan.length)
    ]


def _gauss_sigma(plan: Windows, window: Window, progress: float) -> list[float]:
    """Return a bell that narrows from the first step to the last."""
    wide, narrow = GAUSS_WIDTHS
    deviation = plan.length * (wide + (narrow - wide) * progress)
    middle = (plan.length - 1) / 2
    return [math.exp(-(((place - middle) / deviation) ** 2) / 2) for place in range(plan.length)]


_FUSE: Mapping[ContextFuse, _WeightsOf] = MappingProxyType(
    {
        "flat": _flat,
        "pyramid": _pyramid,
        "relative": _relative,
        "overlap-linear": _overlap_linear,
        "gauss-sigma": _gauss_sigma,
    }
)


@lru_cache(maxsize=64)
def _weighted(plan: Windows, step: int, progress: float) -> tuple[WeightedWindow, ...]:
    windows = _windows(plan, step)
    weights = [_FUSE[plan.fuse](plan, window, progress) for window in windows]
    totals = [0.0] * plan.num_frames
    for window, of_window in zip(windows, weights, strict=True):
        for frame, weight in zip(window, of_window, strict=True):
            totals[frame] += weight
    return tuple(
        WeightedWindow(window, tuple(weight / totals[frame] for frame, weight in zip(window, of_window, strict=True)))
        for window, of_window in zip(windows, weights, strict=True)
    )


def _windows(plan: Windows, step: int) -> list[Window]:
    shape = (plan.num_frames, plan.length, plan.overlap)
    if plan.schedule == "looped":
        return looped_windows(*shape, plan.stride, step, closed=True)
    if plan.schedule == "uniform":
        return uniform_windows(*shape, plan.stride, step)
    return static_windows(*shape)
