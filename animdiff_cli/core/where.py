"""Positions in a clip, and among the steps of its sampler.

| syntax  | meaning                                                             |
|---------|---------------------------------------------------------------------|
| `12`    | frame 12, counted from 0                                            |
| `-1`    | the last frame, `-2` the one before                                 |
| `50%`   | halfway from the first frame (`0%`) to the last (`100%`)            |
| `1.5s`  | 1.5 seconds after the first frame                                   |
| `0-12`  | frames 0 to 12: one value that is held, the same as two keys        |

Among steps, a position is the number of a step or per cent.
"""

import re
from dataclasses import dataclass
from typing import Literal

from animdiff_cli.errors import UsageError

GRAMMAR = "a frame `12`, a frame from the end `-1`, per cent `50%` or seconds `1.5s`"

_WHERE = r"-?\d{1,9}|\d{1,9}(?:\.\d{0,9})?[%s]|\.\d{1,9}[%s]"
#: pattern of a position or a range
POSITION = rf"(?:{_WHERE})(?:-(?:{_WHERE}))?"
_RANGE = re.compile(rf"\s*(?P<first>{_WHERE})(?:-(?P<last>{_WHERE}))?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeline:
    """What positions refer to: the frames of a clip, their rate per second, and the steps of its sampler."""

    num_frames: int
    fps: float
    steps: int
    loop: bool = False  # the last frame leads into the first
    num_known: int = 0  # frames before frame 0 that a continued clip shows already; they have its value
    calls: int | None = None  # of the predictor; None: one per step. Samplers of second order make more


@dataclass(frozen=True, slots=True)
class Where:
    """One position. `str` returns its text, which `parse_where` reads as the same position."""

    number: float
    unit: Literal["", "%", "s"] = ""  # of frames or steps, per cent, seconds

    def __str__(self) -> str:
        return f"{self.number!r}".removesuffix(".0") + self.unit

    def frame(self, num_frames: int, fps: float) -> int:
        """Return the index of the frame. Raises `UsageError` if the clip has no such frame.

        >>> [parse_where(text).frame(num_frames=17, fps=8) for text in ("3", "-1", "50%", "1.5s")]
        [3, 16, 8, 12]
        """
        if self.unit == "s":
            if self.number > num_frames / fps:
                raise UsageError(
                    f"`{self}` is after the end of the clip, which has {num_frames} frames at {fps:g} per second:"
                    f" {num_frames / fps:g} seconds",
                    hint="use `100%` for the last frame",
                )
            return min(round(self.number * fps), num_frames - 1)
        return self._index(num_frames, "frame", "the clip")

    def step(self, steps: int) -> int:
        """Return the number of the step, from 0. Raises `UsageError` if the sampler has no such step."""
        if self.unit == "s":
            raise UsageError(f"`{self}` is a time, and steps have none", hint="use a step `5` or per cent `50%`")
        return self._index(steps, "step", "the sampler")

    def _index(self, count: int, noun: str, owner: str) -> int:
        if self.unit == "%":
            if self.number > 100:
                raise UsageError(f"`{self}` is more than 100 per cent", hint=f"use `100%` for the last {noun}")
            return round(self.number / 100 * (count - 1))
        index = int(self.number)
        if not -count <= index < count:
            raise UsageError(
                f"there is no {noun} {index}: {owner} has {count} {noun}s, 0 to {count - 1}",
                hint=f"use `100%` for the last {noun}",
            )
        return index % count


def parse_where(text: str) -> Where:
    """Read one position. Raises `UsageError`.

    >>> parse_where("-1"), parse_where("50%")
    (Where(number=-1.0, unit=''), Where(number=50.0, unit='%'))
    """
    first, last = parse_range(text)
    if last is not None:
        raise UsageError(f"`{text}` is a range, and one position is needed", hint=f"use {GRAMMAR}")
    return first


def parse_range(text: str) -> tuple[Where, Where | None]:
    """Read a position, or a range `0-12` of two. Raises `UsageError`.

    >>> [str(where) for where in parse_range("-8--1")]
    ['-8', '-1']
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(f"`{text}` is not a position in a clip", hint=f"use {GRAMMAR}")
    return _where(match["first"]), _where(match["last"]) if match["last"] else None


def parse_positions(text: str) -> list[tuple[Where, Where | None]]:
    """Read positions and ranges, separated by commas. Raises `UsageError`."""
    return [parse_range(part) for part in text.split(",")]


def frames_at(text: str, num_frames: int, fps: float) -> list[int]:
    """Return the frames that positions and ranges stand for, in the order they are written. Raises `UsageError`.

    >>> frames_at("0, 4-6, -1", num_frames=16, fps=8)
    [0, 4, 5, 6, 15]
    """
    frames: list[int] = []
    for first, last in parse_positions(text):
        start = first.frame(num_frames, fps)
        end = start if last is None else last.frame(num_frames, fps)
        if end < start:
            raise UsageError(f"`{first}-{last}` ends before it begins", hint=f"write `{last}-{first}`")
        frames += range(start, end + 1)
    if len(set(frames)) < len(frames):
        twice = next(frame for frame in frames if frames.count(frame) > 1)
        raise UsageError(f"frame {twice} is given twice in `{text}`", hint="leave one of them out")
    return frames


def _where(text: str) -> Where:
    if text[-1] in "%s":
        return Where(float(text[:-1]), "%" if text[-1] == "%" else "s")
    return Where(float(int(text)))
