"""Prompt syntax of other programs that is read as plain text here: one note for each kind."""

import re
from collections.abc import Iterable

_TEXT = "is not supported yet and is read as plain text"

#: (pattern, what it means in other programs), in the order of the notes
_SYNTAX = (
    (re.compile(r"\([^()\n]*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)"), "a weighted prompt"),
    (re.compile(r"\(\([^()\n]+\)\)|\[\[[^\[\]\n]+\]\]"), "a weighted prompt"),
    (re.compile(r"\{[^{}\n]*\|[^{}\n]*\}"), "a choice of words"),
    (re.compile(r"(?<![A-Za-z0-9_])__[A-Za-z0-9*][\w./*-]*?__(?![A-Za-z0-9_])"), "a wildcard"),
    (re.compile(r"\[[^\[\]\n]*(?:\|[^\[\]\n]*|:\s*(?:\d+\.?\d*|\.\d+)\s*)\]"), "prompt editing"),
    (re.compile(r"\b(?:BREAK|AND)\b(?=[^\n]*[a-z])|(?<=[a-z.,;)] )BREAK\b"), "a prompt in parts"),
    (re.compile(r"^[ \t]*[\"']?\d+[\"']?\s*:\s*(?![\d/])[^\n:]+", re.MULTILINE), "a prompt for a frame"),
)
_EXTRA_NETWORK = re.compile(
    r"<(?P<kind>lora|lyco|hypernet):(?P<name>[^:<>\s]+)(?::(?P<scale>[+-]?[\d.]+))?[^<>\s]*>", re.I
)


def unsupported_syntax(prompts: Iterable[str]) -> tuple[str, ...]:
    """Return a note for each kind of unsupported syntax in prompts, naming its first use.

    >>> unsupported_syntax(["a (red:1.3) ball", "a fox <lora:ink:0.8>"])
    ('`(red:1.3)`: a weighted prompt is not supported yet and is read as plain text', \
'`<lora:ink:0.8>` in a prompt applies no LoRA: add `--lora ink@0.8`')
    """
    prompts = tuple(dict.fromkeys(prompts))
    notes = {}
    for pattern, meaning in _SYNTAX:
        found = next((match[0] for prompt in prompts if (match := pattern.search(prompt))), None)
        if found is not None and meaning not in notes:
            notes[meaning] = f"`{_shortened(found.strip())}`: {meaning} {_TEXT}"
    return (*notes.values(), *_extra_networks(prompts))


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
