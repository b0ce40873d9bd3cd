r"""Weights in prompts with the meaning of A1111: `(word)`, `(word:1.2)`, `[word]`, `\(` and `BREAK`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from animdiff_cli.errors import UsageError

ROUND, SQUARE = 1.1, 1 / 1.1  # factors of `( )` and `[ ]` without a number
MAX_WEIGHT = 10.0  # pictures fall apart from about 2 on: more is a typing mistake

_TOKEN = re.compile(
    r"""\\(?P<escaped>[()\[\]\\])
    |\\
    |:\s*(?P<number>[+-]?(?:[.\d]+(?:e[+-]?\d+)?|inf|nan))\s*\)
    |(?P<bracket>[()\[\]])
    |[^\\()\[\]:]+
    |:""",
    re.VERBOSE | re.IGNORECASE,
)
_EXAMPLE = r"write `(word:1.2)`, or `\(` for a bracket that is text"
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True, slots=True)
class Fragment:
    """Text and the factor for the embeddings of its tokens."""

    text: str
    weight: float = 1.0


#: fragments of one part of a prompt; `BREAK` separates parts
Part = tuple[Fragment, ...]


def parse_weights(prompt: str) -> tuple[Part, ...]:
    r"""Split a prompt at `BREAK` into parts, and each part into fragments of one weight.

    As in A1111: `(a)` is `(a:1.1)`, `[a]` divides by 1.1, brackets multiply, one that is not closed reaches to the end,
    and `\(` is the character. Raises `UsageError` for a weight that is not a number or beyond ±10.

    >>> [(fragment.text, fragment.weight) for fragment in parse_weights(r"a (red:1.3) ball \(new\)")[0]]
    [('a ', 1.0), ('red', 1.3), (' ball (new)', 1.0)]
    """
    parts: list[list[Fragment]] = [[]]
    for fragment in _merged(_weighted(prompt)):
        first, *others = _BREAK.split(fragment.text)
        parts[-1].append(replace(fragment, text=first))
        parts.extend([replace(fragment, text=text)] for text in others)
    told = [tuple(fragment for fragment in part if fragment.text) for part in parts]
    return tuple(told if told[-1] or len(told) == 1 else told[:-1])


def bad_weight(weight: str, hint: str) -> UsageError:
    """Return the error for a weight that is not a number or out of range."""
    return UsageError(
        f"the weight {weight} in a prompt is not a number from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}", hint=hint
    )


def _weighted(prompt: str) -> list[Fragment]:
    """Return the pieces of a prompt, each with the product of the brackets around it."""
    pieces: list[Fragment] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}  # how many pieces come before each bracket that is open

    def multiply(start: int, factor: float) -> None:
        pieces[start:] = [replace(piece, weight=piece.weight * factor) for piece in pieces[start:]]

    for token in _TOKEN.finditer(prompt):
        text = token[0]
        if text.startswith("\\"):
            pieces.append(Fragment(token["escaped"] or ""))
        elif text in opened:
            opened[text].append(len(pieces))
        elif token["number"] and opened["("]:
            multiply(opened["("].pop(), _number(token["number"]))
        elif text == ")" and opened["("]:
            multiply(opened["("].pop(), ROUND)
        elif text == "]" and opened["["]:
            multiply(opened["["].pop(), SQUARE)
        else:
            pieces.append(Fragment(text))
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        for start in opened[bracket]:
            multiply(start, factor)
    for piece in pieces:
        if abs(piece.weight) > MAX_WEIGHT:
            raise bad_weight(f"{piece.weight:.4g}", _EXAMPLE)
    return pieces


def _merged(pieces: Sequence[Fragment]) -> list[Fragment]:
    """Join neighbours of one weight."""
    groups = groupby(pieces, key=lambda piece: piece.weight)
    return [Fragment("".join(piece.text for piece in group), weight) for weight, group in groups]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise bad_weight(text, _EXAMPLE)
    return value
