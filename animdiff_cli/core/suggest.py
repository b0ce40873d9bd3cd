"""Did you mean …? One rule for keys, aliases, presets and template fields."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word nearest to what was typed, ignoring case; None when nothing is near.

    >>> closest("guidance", ["steps", "guidance_scale"])
    'guidance_scale'
    """
    spelled = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(word.casefold(), spelled, n=1)
    return spelled[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Word a hint: the nearest known word, or `otherwise` when nothing is near."""
    close = closest(word, known)
    return f"did you mean `{close}`?" if close else otherwise
