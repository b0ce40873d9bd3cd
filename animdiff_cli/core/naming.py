"""Names of output files: templates that give valid names on every file system."""

import re
import string
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import zip_longest
from types import MappingProxyType

from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError

DEFAULT_TEMPLATE = "{date}_{slug}_{seed}"
#: longest slug in characters, and in bytes: a name with two of them is below the 255 bytes of file systems
SLUG_LENGTH, SLUG_BYTES = 40, 90

#: template field → its value
FIELDS = {
    "date": "day of the render, 20260131",
    "time": "time of the render, 235959",
    "slug": "first words of the prompt: letters of any script, digits and -, at most 40 characters",
    "seed": "seed",
    "model": "image model, shortened like the prompt",
    "index": "index of the clip, from 1; `{index:03}` pads with zeros",
}

#: device names reserved by Windows, with or without a suffix
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})

#: alignment, zeros, width and precision; a larger width fills the memory, and braces would be fields again
_FORMAT_SPEC = re.compile(r"[<>^]?0?\d{0,3}(?:\.\d{1,3})?[ds]?", re.ASCII)
#: letters that show nothing: fillers of Hangul
_INVISIBLE = "\u115f\u1160"
#: characters that Windows forbids in file names; `/` separates folders in a template
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key that orders numbers in names by value.

    >>> sorted(["a10.gif", "a9.gif", "b.gif", "a1.gif"], key=natural_key)
    ['a1.gif', 'a9.gif', 'a10.gif', 'b.gif']
    """
    pieces = re.split(r"([0-9]+)", name)
    numbered = [(int(number[-18:]), number) for number in pieces[1::2]]  # digits past 18 only break ties
    texts = [(0, text) for text in pieces[::2]]
    return [piece for pair in zip_longest(texts, numbered) for piece in pair if piece is not None]


def slug(text: str) -> str:
    """Shorten text to 1 to 40 lower-case letters of any script, digits and `-`, truncated between words if possible.

    Accents of Latin letters are dropped, and letters that file names here cannot have, by the encoding of the system.
    Text without letters and digits becomes `clip`.

    >>> slug("A crème-coloured fox, running!"), slug("夜空を走る、赤い狐"), slug("Лиса бежит")
    ('a-creme-coloured-fox-running', '夜空を走る-赤い狐', 'лиса-бежит')
    """
    name = _truncated("-".join(_words(text))) or "clip"
    return f"{name}-clip" if name in RESERVED else name


def output_name(
    prompt: str,
    seed: int,
    when: datetime,
    *,
    model: str = "",
    index: int = 1,
    template: str = DEFAULT_TEMPLATE,
    further: Mapping[str, str | int] = MappingProxyType({}),
) -> str:
    """Fill a template and return a file name without suffix, possibly with folders separated by `/`.

    `further` are the values of fields beside `FIELDS`. Raises UsageError for an unknown field, an unclosed brace, or
    an invalid file name.

    >>> output_name("a red fox", 7, datetime(2026, 1, 31, 23, 59, 59))
    '20260131_a-red-fox_7'
    """
    check_template(template, further)
    values: dict[str, str | int] = {
        **further,
        "date": when.strftime("%Y%m%d"),
        "time": when.strftime("%H%M%S"),
        "slug": slug(prompt),
        "seed": seed,
        "model": slug(model),
        "index": index,
    }
    try:
        name = template.format(**values)
    except ValueError as error:
        raise UsageError(
            f"output name `{template}`: {error}", hint="write fields like `{seed}` or `{index:03}`"
        ) from error
    _check_name(name)
    return name


def check_template(template: str, further: Iterable[str] = ()) -> None:
    """Raise UsageError for a template with an unknown field or an unclosed brace. `further`: fields beside `FIELDS`."""
    names = {*FIELDS, *further}
    known = ", ".join(f"{{{name}}}" for name in FIELDS)
    for field, spec in template_fields(template):
        if field not in names:
            hint = did_you_mean(field, names, otherwise=f"the fields are {known}")
            raise UsageError(f"output name `{template}`: unknown field `{{{field}}}`", hint=hint)
        if not _FORMAT_SPEC.fullmatch(spec):
            hint = "write fields like `{seed}` or `{index:03}`"
            raise UsageError(f"output name `{template}`: unknown format `{spec}`", hint=hint)


def template_fields(template: str) -> list[tuple[str, str]]:
    """List the fields of a template with their formats. Raises UsageError for an unclosed brace."""
    try:
        return [(field, spec or "") for _, field, spec, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise UsageError(f"output name `{template}`: {error}", hint="for a literal brace, type `{{`") from error


def _words(text: str) -> list[str]:
    """Split text into words of lower-case letters, digits and the marks that belong to letters, in NFKC."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept: list[str] = []
    for char in folded:
        base = unicodedata.normalize("NFKD", char)[0]
        kind = unicodedata.category(char)[0]
        if base.isascii() and base.isalnum():
            kept.append(base)
        elif kind == "M" and kept and kept[-1] != " ":
            kept += [] if kept[-1].isascii() else [char]  # an accent that no single character has
        else:
            kept.append(char if kind in "LN" and char not in _INVISIBLE else " ")
    encoding = sys.getfilesystemencoding()
    return "".join(kept).encode(encoding, "ignore").decode(encoding).split()


def _truncated(name: str) -> str:
    """Shorten to both limits: between words, unless much more would be lost, as in text without spaces."""
    short = name[:SLUG_LENGTH].encode()[:SLUG_BYTES].decode(errors="ignore")
    if short == name:
        return name
    while unicodedata.category(name[len(short)])[0] == "M":
        short = short[:-1]
    cut, _, _ = name[: len(short) + 1].rpartition("-")
    return cut if cut and (name.isascii() or len(cut) > len(short) / 2) else short.strip("-")


def _check_name(name: str) -> None:
    for part in name.split("/"):
        stem = part.split(".")[0].strip().lower()
        invalid = not part.strip(". ") or part[-1] in ". " or stem in RESERVED
        if invalid or _FORBIDDEN.search(part):
            raise UsageError(
                f"`{name}` is not a valid file name on all systems", hint=f"the default is `{DEFAULT_TEMPLATE}`"
            )
