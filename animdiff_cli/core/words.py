"""Words of a prompt that stand for learned vectors: where they are read, and which a prompt names itself."""

import re
from collections.abc import Iterable

_NAMED = re.compile(r"(?<![\w:-])embedding:(?P<name>[A-Za-z0-9][A-Za-z0-9._+-]*[A-Za-z0-9]|[A-Za-z0-9])")


def mentions(prompt: str, word: str) -> bool:
    """Tell whether a word stands in a prompt by itself, in any letter case.

    >>> mentions("a fox, (EasyNegative:1.2)", "easynegative"), mentions("uneasynegative", "easynegative")
    (True, False)
    """
    return _word(word).search(prompt) is not None


def with_word_as(prompt: str, word: str, tokens: Iterable[str]) -> str:
    """Put tokens in the place of a word, wherever it stands, `embedding:` before it or not.

    >>> with_word_as("blurry, embedding:badhand", "badhand", ["<1>", "<2>"])
    'blurry, <1> <2>'
    """
    together = " ".join(tokens)
    return _word(word).sub(lambda _: together, prompt)


def names_of_embeddings(prompts: Iterable[str]) -> tuple[str, ...]:
    """List what prompts call by `embedding:NAME`, each once.

    >>> names_of_embeddings(["ugly, embedding:easynegative, (embedding:badhandv4:1.2)."])
    ('easynegative', 'badhandv4')
    """
    return tuple(dict.fromkeys(match["name"] for prompt in prompts for match in _NAMED.finditer(prompt)))


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w:-])(?:embedding:)?(?<![\w-]){re.escape(word)}(?![\w-])", re.IGNORECASE)
