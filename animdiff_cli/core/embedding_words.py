"""Words in prompts that stand for textual-inversion embeddings: find and replace them."""

import re
from collections.abc import Iterable

_REFERENCE = re.compile(r"(?<![\w:-])embedding:(?P<name>[A-Za-z0-9][A-Za-z0-9._+-]*[A-Za-z0-9]|[A-Za-z0-9])")


def contains_word(prompt: str, word: str) -> bool:
    """True if a prompt contains `word` as a whole word, ignoring case.

    >>> contains_word("a fox, (EasyNegative:1.2)", "easynegative"), contains_word("uneasynegative", "easynegative")
    (True, False)
    """
    return _pattern(word).search(prompt) is not None


def replace_word(prompt: str, word: str, tokens: Iterable[str]) -> str:
    """Replace each occurrence of `word`, with or without the prefix `embedding:`, by the tokens.

    >>> replace_word("blurry, embedding:badhand", "badhand", ["<1>", "<2>"])
    'blurry, <1> <2>'
    """
    replacement = " ".join(tokens)
    return _pattern(word).sub(lambda _: replacement, prompt)


def embedding_names(prompts: Iterable[str]) -> tuple[str, ...]:
    """Return the names that prompts reference as `embedding:NAME`, without duplicates.

    >>> embedding_names(["ugly, embedding:easynegative, (embedding:badhandv4:1.2)."])
    ('easynegative', 'badhandv4')
    """
    return tuple(dict.fromkeys(match["name"] for prompt in prompts for match in _REFERENCE.finditer(prompt)))


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w:-])(?:embedding:)?(?<![\w-]){re.escape(word)}(?![\w-])", re.IGNORECASE)
