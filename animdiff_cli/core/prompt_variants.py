r"""Find the places of a prompt that are drawn at random: variants `{a|b}` and wildcards `__name__`.

Everything else is text. `\{`, `\}` and `\__` are the characters themselves.
"""

import re

_WILDCARD = r"(?<![A-Za-z0-9_\\])__(?P<name>[~!@]?[A-Za-z0-9*][\w./*-]*?)__(?![A-Za-z0-9_])"
_TOKEN = re.compile(rf"\\[{{}}_]|(?P<open>\{{)|(?P<close>\}})|{_WILDCARD}")


def variant_spans(prompt: str) -> list[tuple[int, int]]:
    """Return start and end of each variant and wildcard that is not inside another one.

    >>> [prompt[start:end] for prompt in ["a {red|{2$$a|b}} __animal__, {x}"] for start, end in variant_spans(prompt)]
    ['{red|{2$$a|b}}', '__animal__']
    """
    spans: list[tuple[int, int]] = []
    at = 0
    while token := _TOKEN.search(prompt, at):
        at = token.end()
        if token["name"]:
            spans.append(token.span())
        elif token["open"] and (end := _closing(prompt, at)):
            inside = prompt[at : end - 1]
            if "|" in inside or "$$" in inside or wildcard_names(inside):
                spans.append((token.start(), end))
                at = end
    return spans


def wildcard_names(prompt: str) -> tuple[str, ...]:
    """Return the names of the wildcards in a prompt, without duplicates.

    >>> wildcard_names("a __colour__ {__animal__|__colour__} snake__case__x")
    ('colour', 'animal')
    """
    return tuple(dict.fromkeys(match["name"].lstrip("~!@") for match in re.finditer(_WILDCARD, prompt)))


def _closing(prompt: str, start: int) -> int | None:
    """Return the end of the braces that were opened before `start`; None if they are not closed."""
    depth = 1
    for token in _TOKEN.finditer(prompt, start):
        depth += bool(token["open"]) - bool(token["close"])
        if depth == 0:
            return token.end()
    return None
