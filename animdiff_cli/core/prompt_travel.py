"""Prompts that change over a clip: their texts, and the ways to write them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from animdiff_cli.core.curves import TextTrack
from animdiff_cli.core.where import parse_range
from animdiff_cli.errors import UsageError

#: one text for all frames, or texts at positions
Prompt = str | TextTrack
MAX_PROMPT = 10_000  # characters of one text

_KEYED_LINE = re.compile(r"""\s*["']?(?P<where>-?[\d.][-\d.%s]*)["']?\s*:(?![\d/])\s*(?P<text>.*?)\s*""")


@dataclass(frozen=True, slots=True)
class Travel:
    """Texts at positions of a clip, with the texts before and after each of them."""

    keys: Mapping[str, str] = field(default_factory=dict)
    head: str = ""
    tail: str = ""

    def applied(self, prompt: Prompt) -> Prompt | dict[str, str]:
        """Return the prompt that begins with `prompt`. Texts of a prompt that travels already are replaced.

        Where no key is at the start, the clip begins with the common text alone.

        >>> Travel({"50%": "at night"}).applied("a field")
        {'0': 'a field', '50%': 'a field, at night'}
        """
        if not (self.keys or self.head or self.tail):
            return prompt
        head = _joined(prompt if isinstance(prompt, str) else "", self.head)
        texts = {where: _joined(head, text, self.tail) for where, text in self.keys.items()}
        if not texts:
            return _joined(head, self.tail)
        if head and parse_range(next(iter(texts)))[0].number != 0:
            texts = {"0": _joined(head, self.tail), **texts}
        return texts


def texts_of(prompt: Prompt) -> tuple[str, ...]:
    """Return the distinct texts of a prompt, in order.

    >>> texts_of(TextTrack.of({"0-8": "day", "-1": "night"}))
    ('day', 'night')
    """
    return tuple(dict.fromkeys(text for _, text in prompt.keys)) if isinstance(prompt, TextTrack) else (prompt,)


def describe_prompt(prompt: str | Mapping[str, str]) -> str:
    """Return a prompt as one line: of a mapping, as in a recipe, the texts one after the other.

    >>> describe_prompt({"0": "day", "8": "day", "50%": "night"})
    'day → night'
    """
    return prompt if isinstance(prompt, str) else " → ".join(dict.fromkeys(prompt.values()))


def parse_keys(entries: Sequence[str], flag: str) -> dict[str, str]:
    """Read `WHERE=TEXT` of the command line; the text may be empty. Raises `UsageError`.

    >>> parse_keys(["0=day", "50%=night"], "--prompt-at")
    {'0': 'day', '50%': 'night'}
    """
    keys: dict[str, str] = {}
    for entry in entries:
        where, equals, text = (part.strip() for part in entry.partition("="))
        if not equals:
            raise UsageError(f"{flag} {entry}: expected where=text", hint=f'for example `{flag} "50%=at night"`')
        _add(keys, where, text, f"{flag} {entry}")
    return keys


def parse_prompt_file(text: str, source: str) -> Travel:
    r"""Read lines `0: text`, `50%: text`, `0-12: text`, as sd-webui-animatediff has them in its prompt.

    Lines before the first position are the head of every text, lines after the last one its tail. Empty lines and
    lines that begin with `#` are left out. Without any position the lines are one prompt. Raises `UsageError`.

    >>> parse_prompt_file("a field\n0: by day\n50%: at night", "a.txt")
    Travel(keys={'0': 'by day', '50%': 'at night'}, head='a field', tail='')
    """
    head: list[str] = []
    keys: dict[str, str] = {}
    tail: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        at = f"{source}, line {number}"
        match = _KEYED_LINE.fullmatch(line)
        if match is None:
            (tail if keys else head).append(line.strip())
        elif tail:
            raise UsageError(
                f"{at}: the position `{match['where']}` comes after lines without one",
                hint="put text for all positions before the first or after the last",
            )
        else:
            _add(keys, match["where"], _unquoted(match["text"]), at)
    if not (head or keys):
        raise UsageError(f"{source} is empty", hint="write lines such as `0: a field by day` and `50%: at night`")
    return Travel(keys, _joined(*head), _joined(*tail))


def _add(keys: dict[str, str], where: str, text: str, source: str) -> None:
    try:
        parse_range(where)
    except UsageError as error:
        raise UsageError(f"{source}: {error}", hint=error.hint) from error
    if where in keys:
        raise UsageError(f"{source}: the position `{where}` is given twice", hint="leave one of them out")
    keys[where] = text


def _unquoted(text: str) -> str:
    """Remove the quotes of JSON around a text, with the comma after them."""
    match = re.fullmatch(r"""(["'])(?P<inner>.*)\1,?""", text)
    return match["inner"] if match else text


def _joined(*texts: str) -> str:
    """Join texts with commas."""
    return ", ".join(text for each in texts if (text := each.strip().removesuffix(",").rstrip()))
