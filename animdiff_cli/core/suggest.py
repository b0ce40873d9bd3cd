"""Suggestions for typos in keys, aliases, presets and template fields."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to `word`, ignoring case; None if none is close.

    >>> closest("guidance", ["steps", "guidance_scale"])
    'guidance_scale'
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(word.casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return a hint with the closest known word, or `otherwise` if none is close."""
    close = closest(word, known)
    return f"did you mean `{close}`?" if close else otherwise
