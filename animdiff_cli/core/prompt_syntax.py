"""Prompt syntax of other programs that has another effect here: one note for each kind."""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from animdiff_cli.core.choices import PromptSyntax

_TEXT = "is not supported yet and is read as plain text"
_LINES = "is read as plain text: put such lines into a file for `--prompt-file`"
_Rows = tuple[tuple[re.Pattern[str], str, str], ...]

#: (pattern, what it means in other programs, what is done with it), in the order of the notes
_ALWAYS: _Rows = (
    (re.compile(r"^[ \t]*[\"']?\d+[\"']?\s*:\s*(?![\d/])[^\n:]+", re.MULTILINE), "a prompt for a frame", _LINES),
)
_NOT_A1111: _Rows = (
    (
        re.compile(r"\[[^\[\]\n]*(?:\|[^\[\]\n]*|:\s*(?:\d+\.?\d*|\.\d+)\s*)\]"),
        "prompt editing",
        "is not supported yet and is read as text of less weight",
    ),
    (re.compile(r"\bAND\b(?=[^\n]*[a-z])"), "a prompt in parts", _TEXT),
    (
        re.compile(r"(?:\b\w+|\))(?:\+{2,}|-{2,})(?=[\s,.]|$)|\)\.(?:and|blend)\("),
        "the notation of compel",
        "is read as plain text without `--prompt-syntax compel`",
    ),
)
_NOT_COMPEL: _Rows = (
    (
        re.compile(r"\([^()\n]*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)"),
        "a weighted prompt",
        "is written `(words)1.2` for compel, and is read as plain text",
    ),
    (re.compile(r"\b(?:BREAK|AND)\b(?=[^\n]*[a-z])"), "a prompt in parts", _TEXT),
)
_ROWS: Mapping[PromptSyntax, _Rows] = MappingProxyType(
    {"a1111": _ALWAYS + _NOT_A1111, "compel": _ALWAYS + _NOT_COMPEL, "plain": ()}
)
#: brackets, what makes them more than text, the syntaxes that read them, and what is done if they are not closed
_BRACKETS: tuple[tuple[str, str, re.Pattern[str], tuple[PromptSyntax, ...], str], ...] = (
    ("{", "}", re.compile(r"\||\$\$"), ("a1111", "compel"), "a choice without `}` is read as text"),
    (
        "(",
        ")",
        re.compile(r"(?<!\d):\s*[+-]?(?:\d+\.?\d*|\.\d+)(?![\d.]*\s*\))"),
        ("a1111",),
        "a weight without `)` is read as text of weight 1.1",
    ),
)
_EXTRA_NETWORK = re.compile(
    r"<(?P<kind>lora|lyco|hypernet):(?P<name>[^:<>\s]+)(?::(?P<scale>[+-]?[\d.]+))?[^<>\s]*>", re.I
)


def unsupported_syntax(prompts: Iterable[str], syntax: PromptSyntax = "a1111") -> tuple[str, ...]:
    """Return a note for each kind of unsupported syntax in prompts, naming its first use.

    >>> unsupported_syntax(["a [fox:dog:0.5]", "a fox <lora:ink:0.8>"])
    ('`[fox:dog:0.5]`: prompt editing is not supported yet and is read as text of less weight', \
'`<lora:ink:0.8>` in a prompt applies no LoRA: add `--lora ink@0.8`')
    """
    prompts = tuple(dict.fromkeys(prompts))
    notes = []
    for pattern, meaning, effect in _ROWS[syntax]:
        found = next((match[0] for prompt in prompts if (match := pattern.search(prompt))), None)
        if found is not None:
            notes.append(f"`{_shortened(found.strip())}`: {meaning} {effect}")
    return (*notes, *_unclosed(prompts, syntax), *_extra_networks(prompts))


def _unclosed(prompts: Iterable[str], syntax: PromptSyntax) -> Iterator[str]:
    """Yield a note for the first choice, and the first weight, whose bracket is never closed."""
    for opening, closing, inside, syntaxes, effect in _BRACKETS:
        starts = ((prompt, _first_unclosed(prompt, opening, closing)) for prompt in prompts if syntax in syntaxes)
        tails = (prompt[start:] for prompt, start in starts if start is not None)
        if found := next(filter(inside.search, tails), None):
            yield f"`{_shortened(found.strip())}`: {effect}"


def _first_unclosed(prompt: str, opening: str, closing: str) -> int | None:
    opened: list[int] = []
    for token in re.finditer(rf"\\.|[{opening}{closing}]", prompt, re.DOTALL):
        if token[0] == opening:
            opened.append(token.start())
        elif token[0] == closing and opened:
            opened.pop()
    return opened[0] if opened else None


def _extra_networks(prompts: Iterable[str]) -> tuple[str, ...]:
    """Return a note for each LoRA that a prompt names."""
    notes = []
    for match in (match for prompt in prompts for match in _EXTRA_NETWORK.finditer(prompt)):
        if match["kind"].lower() == "hypernet":
            notes.append(f"`{match[0]}`: a hypernetwork {_TEXT}")
        else:
            scale = f"@{match['scale']}" if match["scale"] else ""
            notes.append(f"`{match[0]}` in a prompt applies no LoRA: add `--lora {match['name']}{scale}`")
    return tuple(dict.fromkeys(notes))


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
