"""Options of prompts: texts, their notation, and how they change over a clip."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from animdiff_cli.cli.options import PROMPT, option
from animdiff_cli.core.choices import PromptInterpolation, PromptSyntax
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.core.prompt_travel import Travel
    from animdiff_cli.jobs.prompts import PromptOptions

PromptOpt = Annotated[
    list[str] | None,
    option("--prompt", "-p", help="Text prompt. Repeatable.", panel=PROMPT, metavar="<text>"),
]
NegativeOpt = Annotated[str | None, option("--negative", "-n", help="Negative prompt.", panel=PROMPT, metavar="<text>")]
PromptAtOpt = Annotated[
    list[str] | None,
    option(
        "--prompt-at",
        help="Text from a position on, such as '50%=at night': frame 12, -1, 50% or 1.5s. `--prompt` is put before"
        " each text. Repeatable.",
        panel=PROMPT,
        metavar="<where=text>",
    ),
]
NegativeAtOpt = Annotated[
    list[str] | None,
    option(
        "--negative-at",
        help="The same for the negative prompt. Repeatable.",
        panel=PROMPT,
        metavar="<where=text>",
    ),
]
PromptFileOpt = Annotated[
    str | None,
    option("--prompt-file", help="Lines such as '50%: at night'; - is stdin.", panel=PROMPT, metavar="<file>"),
]
PromptInterpolationOpt = Annotated[
    PromptInterpolation | None,
    option("--prompt-interpolation", help="How one text leads into the next. Default: linear.", panel=PROMPT),
]
PromptHoldOpt = Annotated[
    float | None,
    option("--prompt-hold", help="Share of the way to the next text for which a text is held, 0 to 1.", panel=PROMPT),
]
WildcardsOpt = Annotated[
    Path | None,
    option(
        "--wildcards",
        help="Folder with a file colour.txt for `__colour__` in prompts; drawn by the seed, as `{red|blue}` is.",
        panel=PROMPT,
        metavar="<folder>",
    ),
]
PromptSyntaxOpt = Annotated[
    PromptSyntax | None,
    option(
        "--prompt-syntax",
        help="How weights are written: `(word:1.2)`, as `word++`, or not at all. Default: a1111.",
        panel=PROMPT,
    ),
]


def read_prompt_options(
    prompts: list[str], prompt_at: list[str], negative_at: list[str], prompt_file: str | None, wildcards: Path | None
) -> "PromptOptions":
    """Check prompts and read what is added to them. Raises `UsageError`, or `NotFound` for a missing file."""
    from animdiff_cli.core.prompt_travel import Travel, parse_keys
    from animdiff_cli.jobs.prompts import PromptOptions

    _check_prompts(prompts)
    if prompt_at and prompt_file:
        raise UsageError("--prompt-at and --prompt-file cannot be combined", hint="write the texts into the file")
    travel = _read_file(prompt_file) if prompt_file else Travel(parse_keys(prompt_at, "--prompt-at"))
    return PromptOptions(travel, Travel(parse_keys(negative_at, "--negative-at")), wildcards, needs_wildcards=True)


def _check_prompts(prompts: list[str]) -> None:
    """Raise `UsageError` for an empty prompt, which is often an unset shell variable, and for `-`."""
    for prompt in prompts:
        if not prompt.strip():
            raise UsageError("--prompt is empty", hint="to render without a prompt, type `--set prompt=`")
        if prompt.strip() == "-":
            raise UsageError("--prompt does not read stdin", hint="type `--prompt-file -`")


def _read_file(name: str) -> "Travel":
    from animdiff_cli.config.yamlfile import read_text_file
    from animdiff_cli.core.prompt_travel import parse_prompt_file

    if name != "-":
        return parse_prompt_file(read_text_file(Path(name)), name)
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not text: {error}", hint="write it in UTF-8") from error
    return parse_prompt_file(text, "stdin")
