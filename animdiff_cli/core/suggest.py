"""Suggestions for typos in keys, aliases, presets and template fields."""

from collections.abc import Iterable
from difflib import SequenceMatcher

CLOSE = 0.6  # likeness of 0 to 1 from which a word is suggested


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to `word`, ignoring case; None if none is close. Of equally close words, the first.

    >>> closest("guidance", ["steps", "guidance_scale", "guidance_until"])
    'guidance_scale'
    """
    matcher = SequenceMatcher(b=word.casefold())

    def likeness(candidate: str) -> float:
        matcher.set_seq1(candidate.casefold())
        return matcher.ratio()

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best) >= CLOSE else None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return a hint with the closest known word, or `otherwise` if none is close."""
    close = closest(word, known)
    return f"did you mean `{close}`?" if close else otherwise
