"""Tracks: values at positions of a clip or of its sampler's steps. A curve is a track of numbers.

A track is written as a mapping `{0: 0, 50%: 1}`, a curve also as text `0:0,50%:1`. Over steps, the keys of a mapping
begin with the word `steps`, as in `{steps 0: 9, steps 50%: 5}`; the text begins with `steps:`, as in
`steps:0:9,50%:5`. The first value holds before the first key and the last value after the last key. In a loop the
last key leads into the first instead.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Generic, Literal, Self, TypeVar

from animdiff_cli.core.where import Timeline, Where, parse_range
from animdiff_cli.errors import UsageError

Axis = Literal["frames", "steps"]
Value = TypeVar("Value")

_STEPS: Final = "steps"


@dataclass(frozen=True, slots=True)
class Blend(Generic[Value]):
    """The value at one frame or step: `fraction` of the way from `before` to `after`."""

    before: Value
    after: Value
    fraction: float  # in [0, 1)


@dataclass(frozen=True, slots=True)
class Track(Generic[Value]):
    """Values at positions, in order."""

    keys: tuple[tuple[Where, Value], ...]
    axis: Axis = "frames"

    @classmethod
    def of(cls, pairs: Mapping[str, Value]) -> Self:
        """Read the mapping form. Raises `UsageError` for keys that are not positions.

        >>> Track.of({"0-12": "day", "-1": "night"}).as_mapping()
        {'0': 'day', '12': 'day', '-1': 'night'}
        """
        if not pairs:
            raise UsageError("it has no positions", hint="write at least one, as in `{0: …, 50%: …}`")
        positions = [key.strip().removeprefix(f"{_STEPS} ") for key in pairs]
        over_steps = [position != key.strip() for position, key in zip(positions, pairs, strict=True)]
        if any(over_steps) and not all(over_steps):
            raise UsageError("some keys are steps and some are frames", hint="begin every key with `steps`, or none")
        keys: list[tuple[Where, Value]] = []
        for position, value in zip(positions, pairs.values(), strict=True):
            first, last = parse_range(position)
            keys += [(first, value)] if last is None else [(first, value), (last, value)]
        return cls(tuple(keys), _STEPS if any(over_steps) else "frames")

    def as_mapping(self) -> dict[str, Value]:
        """Return the mapping form, which `of` reads as the same track."""
        prefix = f"{_STEPS} " if self.axis == _STEPS else ""
        return {f"{prefix}{where}": value for where, value in self.keys}

    def check(self, timeline: Timeline) -> None:
        """Raise `UsageError` for keys outside of the clip, out of order, or twice."""
        self.resolved(timeline)

    def resolved(self, timeline: Timeline) -> list[tuple[int, Value]]:
        """Return the keys as frames, or steps, from 0. Raises as `check`."""
        indices = [
            where.step(timeline.steps) if self.axis == _STEPS else where.frame(timeline.num_frames, timeline.fps)
            for where, _ in self.keys
        ]
        noun = self.axis.removesuffix("s")
        for (first, _), (second, _), (one, other) in zip(self.keys, self.keys[1:], pairwise(indices), strict=False):
            if one == other:
                written = f"`{first}` and `{second}` are both" if first != second else f"`{first}` is given twice:"
                raise UsageError(f"{written} {noun} {one}", hint="leave one of them out")
            if one > other:
                raise UsageError(
                    f"`{second}` comes after `{first}`, and is {noun} {other} before {noun} {one}",
                    hint="write the keys in the order of the clip",
                )
        return [(index, value) for index, (_, value) in zip(indices, self.keys, strict=True)]

    def blends(self, timeline: Timeline) -> list[Blend[Value]]:
        """Return the value of every frame, or of every step, as a blend of the keys around it. Raises as `check`.

        Known frames of `timeline` come first, with the value of frame 0.
        """
        keys = self.resolved(timeline)
        count = timeline.steps if self.axis == _STEPS else timeline.num_frames
        if timeline.loop and self.axis == "frames":
            (first, start), (last, end) = keys[0], keys[-1]
            around = [(last - count, end), *keys, (first + count, start)]
            return [_blend(around, index) for index in range(count)]
        known = timeline.num_known if self.axis == "frames" else 0
        return [_blend(keys, max(index, 0)) for index in range(-known, count)]


class TextTrack(Track[str]):
    """A track of texts. How a text leads into the next is up to its user."""

    __slots__ = ()


class Curve(Track[float]):
    """A track of numbers, linear between its keys."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, number: Callable[[str], float] = float) -> Self:
        """Read the text form. `number` reads one value. Raises `UsageError`.

        >>> Curve.parse("steps:0:9,50%:5").as_mapping()
        {'steps 0': 9.0, 'steps 50%': 5.0}
        """
        return cls.of({key: number(value) for key, value in split_curve(text).items()})

    def __str__(self) -> str:
        prefix = f"{_STEPS}:" if self.axis == _STEPS else ""
        return prefix + ",".join(f"{where}:{value!r}" for where, value in self.keys)

    def values(self, timeline: Timeline) -> list[float]:
        """Return the number at every frame, or at every step. Raises as `check`."""
        return [blend.before + blend.fraction * (blend.after - blend.before) for blend in self.blends(timeline)]

    @property
    def strongest(self) -> float:
        """The number at any key that is farthest from 0."""
        return max((value for _, value in self.keys), key=abs)

    @property
    def largest(self) -> float:
        """The largest number at any key."""
        return max(value for _, value in self.keys)


@dataclass(frozen=True, slots=True)
class Series:
    """A number, or one for each frame of a clip or each call of its predictor: an amount with positions resolved."""

    values: tuple[float, ...]
    axis: Axis | None = None  # None for one number

    def at(self, frames: Sequence[int], step: int) -> float | list[float]:
        """Return the number at these frames in this call, counted from 0; one per frame where they differ."""
        if self.axis is None:
            return self.values[0]
        if self.axis == _STEPS:
            return self.values[step]
        found = [self.values[frame] for frame in frames]
        return found[0] if len(set(found)) == 1 else found


def series(amount: float | Curve, timeline: Timeline) -> Series:
    """Resolve an amount for one clip. Raises `UsageError` for keys outside of it, out of order, or twice."""
    if not isinstance(amount, Curve):
        return Series((float(amount),))
    values = amount.values(timeline)
    if amount.axis == _STEPS:
        calls = timeline.calls or timeline.steps
        values = [values[call * timeline.steps // calls] for call in range(calls)]
    return Series(tuple(values), amount.axis)


def largest(amount: float | Curve) -> float:
    """Return the largest value an amount takes."""
    return amount.largest if isinstance(amount, Curve) else amount


def split_curve(text: str) -> dict[str, str]:
    """Split the text form of a curve into the mapping form, values as text. Raises `UsageError`.

    >>> split_curve("0:0,50%:1")
    {'0': '0', '50%': '1'}
    """
    body = text.strip().removeprefix(f"{_STEPS}:")
    prefix = f"{_STEPS} " if body != text.strip() else ""
    pairs: dict[str, str] = {}
    for entry in body.split(","):
        key, colon, value = (part.strip() for part in entry.partition(":"))
        if not colon or not value:
            raise UsageError(f"`{entry.strip()}` is not a position with a value", hint="write it as in `0:0,50%:1`")
        if f"{prefix}{key}" in pairs:
            raise UsageError(f"the position `{key}` is given twice", hint="leave one of them out")
        pairs[f"{prefix}{key}"] = value
    return pairs


def is_curve_text(text: str) -> bool:
    """Whether text is meant as a curve: it begins with a position and a colon.

    >>> is_curve_text("0:1,50%:2"), is_curve_text("7.5"), is_curve_text("a: b")
    (True, False, False)
    """
    return bool(re.match(rf"\s*({_STEPS}:)?\s*[-.\d][-.\d%s]*\s*:", text))


def _blend(keys: Sequence[tuple[int, Value]], index: int) -> Blend[Value]:
    if index <= keys[0][0]:
        return Blend(keys[0][1], keys[0][1], 0.0)
    for (start, before), (end, after) in pairwise(keys):
        if start <= index < end:
            return Blend(before, after, (index - start) / (end - start))
    return Blend(keys[-1][1], keys[-1][1], 0.0)
